// SPDX-License-Identifier: Apache-2.0
// A lower system call's failure: its errno value, never 0.
#pragma once

#include <expected>

namespace extencfs::lower {

struct Errno {
    int value;
    bool operator==(const Errno&) const = default;
};

template <typename T>
using Result = std::expected<T, Errno>;

}  // namespace extencfs::lower
