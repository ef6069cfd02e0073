// SPDX-License-Identifier: Apache-2.0
// Runs a program that is given a secret, or gives one: on pipes, in locked memory, and not for
// ever. Inside encfs/token only.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "encfs/token/token.h"

namespace extencfs::token {

struct Ran {
    crypto::SecretBytes output;  // standard output
    std::string last_words;      // the last line of standard error, fit to print
    int status = 0;              // of exit; -1: a signal ended it
};

// `words`: what follows the program's name, nothing secret. `input` comes on standard input. More
// than `most` bytes of output, or `patience` gone by: the program and what it started are killed.
// ERRORS: kAbsent (cannot be started), kTimeout, kFailed (too much output).
Result<Ran> run_program(const std::string& program, const std::vector<std::string>& words,
                        Bytes input, std::size_t most, std::chrono::milliseconds patience);

}  // namespace extencfs::token
