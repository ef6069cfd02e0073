// SPDX-License-Identifier: Apache-2.0
// Why an operation of the file system failed: a closed set of kinds. errno is made from them once,
// at the reply (errno_of, the only table).
#pragma once

#include <expected>

#include "encfs/lower/errors.h"
#include "encfs/volume/error.h"

namespace extencfs::core {

enum class ErrorKind : unsigned char {
    kLower,    // the lower file system refused: its errno is passed on
    kDamaged,  // authentication failed or the lower bytes are not what the format says
    kStale,    // the node's lower file is not there any more (changed behind our back)
    kNotFound,
    kExists,
    kNotEmpty,
    kNotDirectory,
    kIsDirectory,
    kInvalid,
    kNameTooLong,
    kTooBig,  // beyond the largest file size
    kNoAttribute,
    kRange,        // the caller's buffer is too small
    kUnsupported,  // an operation or flag that this volume cannot do
    kReadOnly,
    kPermission,
    kCrossesMount,  // the lower entry is on another file system
    kPastEnd,       // SEEK_DATA/SEEK_HOLE beyond the end
    kTooManyFiles,
    kNoMemory,
    kInternal,
};

struct Error {
    ErrorKind kind;
    int lower_errno = 0;  // for kLower only
    bool operator==(const Error&) const = default;
};

template <typename T>
using Result = std::expected<T, Error>;

// The errno that a reply carries; never 0, never ENOSYS (that would switch an operation off).
int errno_of(const Error& error);

inline std::unexpected<Error> fail(ErrorKind kind) {
    return std::unexpected(Error{kind, 0});
}
inline std::unexpected<Error> fail(lower::Errno errno_value) {
    return std::unexpected(Error{ErrorKind::kLower, errno_value.value});
}
// kDamaged for bytes that do not check, the matching kind otherwise.
std::unexpected<Error> fail(const volume::Error& error);

inline bool is_errno(const Error& error, int value) {
    return error.kind == ErrorKind::kLower && error.lower_errno == value;
}

}  // namespace extencfs::core
