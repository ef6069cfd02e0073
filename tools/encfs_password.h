// SPDX-License-Identifier: Apache-2.0
// Passwords as EncFS 1.9.5 asks for them: its prompts, on the terminal, or without one on stderr
// and stdin, where front ends write them.
#pragma once

#include <string>

#include "crypto/secret.h"
#include "encfs/daemon/failure.h"

namespace extencfs::tools {

// One line of stdin, no byte of what follows it. False at its end. `line` without its newline.
bool read_stdin_line(std::string& line);

// The first line of stdin, without a prompt. ERRORS: kPasswordRead, kPasswordEmpty; their sentences
// are EncFS's.
daemon::Outcome<crypto::SecretBytes> encfs_stdin_password();
// What the program prints; it finds the volume's directory in the variable RootDir.
// ERRORS: likewise.
daemon::Outcome<crypto::SecretBytes> encfs_program_password(const std::string& program,
                                                            const std::string& root_dir);
// "EncFS Password: ". ERRORS: likewise.
daemon::Outcome<crypto::SecretBytes> encfs_prompt_password();
// "New Encfs Password: ", "Verify Encfs Password: ", until both are the same. ERRORS: likewise.
daemon::Outcome<crypto::SecretBytes> encfs_prompt_new_password();

}  // namespace extencfs::tools
