// SPDX-License-Identifier: Apache-2.0
// Checks of what options are given, for CLI::Option::check(). Each returns what is wrong, or
// nothing.
#pragma once

#include <string>

namespace extencfs::tools {

// An empty word, of a variable that is not set for example, would be taken for no option at all.
std::string not_empty(const std::string& text);
// Files that are made: "-" stands for standard output elsewhere, and here for nothing.
std::string no_hyphen(const std::string& text);
// From 1 to the last 32-bit number.
std::string slot_number(const std::string& text);

}  // namespace extencfs::tools
