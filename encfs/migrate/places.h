// SPDX-License-Identifier: Apache-2.0
// What can be said of two directories by their paths.
#pragma once

#include <cstdint>
#include <string>

namespace extencfs::migrate {

// Whether one is the other, or lies in it: what is copied would be copied again. Either may be
// missing.
bool lie_in_each_other(const std::string& one, const std::string& other);

// Free room where `place` is, or will be; 0: not known.
std::uint64_t free_bytes_at(const std::string& place);

}  // namespace extencfs::migrate
