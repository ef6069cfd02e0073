// SPDX-License-Identifier: Apache-2.0
// Asks a person for a password: on /dev/tty, or on stdin where that is the terminal; without echo.
#pragma once

#include <string>

#include "crypto/secret.h"
#include "encfs/daemon/failure.h"

namespace extencfs::tools {

// Longest password, in bytes. A terminal line ends at 4,095 by itself.
constexpr std::size_t kMostPasswordBytes = 4096;

// Prompts once. A signal that ends or stops the program restores the terminal first and then does
// what it does; after a stop the prompt comes again. THREADS: one, the only one.
// ERRORS: kPasswordRead (no terminal, end of input, too long).
daemon::Outcome<crypto::SecretBytes> prompt_password(const std::string& question);

// Prompts twice and compares. ERRORS: kPasswordRead (also: they differ), kPasswordEmpty.
daemon::Outcome<crypto::SecretBytes> prompt_new_password(const std::string& question);

}  // namespace extencfs::tools
