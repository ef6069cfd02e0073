// SPDX-License-Identifier: Apache-2.0
// Failures as JSON, for programs that start mounts (CLI_ABI.md).
#pragma once

#include "encfs/daemon/failure.h"
#include "tools/exit_codes.h"

namespace extencfs::tools {

// "wrong-password" and so on: a word for each exit code.
const char* failure_word(ExitCode code);
// Prints one object in one line on stdout, and nothing on stderr; returns the exit code.
ExitCode tell_json(const daemon::Failure& failure);

}  // namespace extencfs::tools
