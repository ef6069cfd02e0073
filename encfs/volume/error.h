// SPDX-License-Identifier: Apache-2.0
// The closed set of ways in which bytes of a volume can be wrong.
#pragma once

#include <expected>
#include <string>

namespace extencfs::volume {

enum class ErrorKind {
    kWrongPassword,  // no key slot opens with this secret
    kDamaged,        // authentication failed, or the bytes are not what FORMAT.md says
    kUnsupported,    // an unknown version, feature flag or algorithm
    kBadParameter,   // the caller's value is out of range (a name too long, a cost too high)
    kTooLong,        // a plaintext name above 255 bytes
    kNotVolumeName,  // an entry that is not a name of this volume (reserved or foreign)
    kNoMemory,
    kInternal,
};

// `detail` is for messages and logs; it never holds secrets or plaintext names.
struct Error {
    ErrorKind kind;
    std::string detail;
};

template <typename T>
using Result = std::expected<T, Error>;

}  // namespace extencfs::volume
