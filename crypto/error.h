// SPDX-License-Identifier: Apache-2.0
// The closed set of ways a primitive can fail. Nothing in crypto/ throws across its border.
#pragma once

#include <expected>

namespace extencfs::crypto {

enum class Error {
    kAuthentication,  // a tag did not match: wrong key, or the bytes were changed
    kBadParameter,    // a length or cost that the primitive does not take
    kUnavailable,     // the library on this machine lacks the algorithm
    kNoMemory,        // memory (or locked memory) ran out
    kInternal,        // the library reported a failure that should not happen
};

template <typename T>
using Result = std::expected<T, Error>;

// A short noun phrase for messages, never secret.
const char* describe(Error error);

}  // namespace extencfs::crypto
