// SPDX-License-Identifier: Apache-2.0
// Standard input, output and error, as whoever started the program left them.
#pragma once

#include <string>

namespace extencfs::tools {

// Opens what is closed of the three, so that no other file comes to be in its place: a message
// would be written into it. What is opened neither gives nor takes anything. First in main().
// False where that cannot be done.
bool open_standard_streams();

// Writes what is buffered for standard output. Returns what went wrong since the start and what to
// do, or nothing.
std::string flush_output();

}  // namespace extencfs::tools
