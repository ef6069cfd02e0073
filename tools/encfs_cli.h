// SPDX-License-Identifier: Apache-2.0
// The program under the names of EncFS 1.9.5: the same command lines, dialogue, texts that front
// ends look for, and exit codes (CLI_ABI.md says where they differ).
#pragma once

namespace extencfs::tools {

// Return the exit code. REQUIRES: one thread.
int run_encfs(int argc, char** argv);
int run_encfsctl(int argc, char** argv);

}  // namespace extencfs::tools
