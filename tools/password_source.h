// SPDX-License-Identifier: Apache-2.0
// Where a command gets the password from: a file, stdin, a program, or a person. Never from argv.
#pragma once

#include <string>

#include "crypto/secret.h"
#include "encfs/daemon/failure.h"

namespace CLI {
class App;
}

namespace extencfs::tools {

struct PasswordOptions {
    std::string passfile;  // --passfile F
    bool from_stdin = false;
    std::string program;                         // --extpass CMD
    const char* passfile_option = "--passfile";  // what told of it
};

// Adds the three options (at most one may be given) to a command.
void add_password_options(CLI::App& command, PasswordOptions& options);

enum class Purpose { kOpen, kCreate };

// The first line of the chosen source, without its newline; a person is asked once to open and
// twice to create. `what`: named in the prompt. `--extpass` runs by `sh -c`; its standard output is
// read, it must succeed. A notice tells of what is odd in the file of a new
// one, see oddness_of(). ERRORS: kPasswordRead, kPasswordEmpty.
daemon::Outcome<crypto::SecretBytes> read_password(const PasswordOptions& options, Purpose purpose,
                                                   const std::string& what);

// "ends in a carriage return" and the like: what an editor put there that nobody sees, and that
// counts. Empty: nothing of that.
std::string oddness_of(Bytes password);

}  // namespace extencfs::tools
