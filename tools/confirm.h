// SPDX-License-Identifier: Apache-2.0
// Asks a person yes or no, or for a word, on /dev/tty.
#pragma once

#include <string>

#include "encfs/daemon/failure.h"

namespace extencfs::tools {

// True for "y" or "yes". ERRORS: kOther (there is nobody to ask).
daemon::Outcome<bool> confirm(const std::string& question);
// True when the word itself is typed: for what cannot be taken back. ERRORS: likewise.
daemon::Outcome<bool> confirm_word(const std::string& statement, const std::string& word);

}  // namespace extencfs::tools
