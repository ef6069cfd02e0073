// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/error.h"

#include <cerrno>

namespace extencfs::core {

int errno_of(const Error& error) {
    switch (error.kind) {
        case ErrorKind::kLower:
            return error.lower_errno == 0 || error.lower_errno == ENOSYS ? EIO : error.lower_errno;
        case ErrorKind::kDamaged:
            return EIO;
        case ErrorKind::kStale:
            return ESTALE;
        case ErrorKind::kNotFound:
            return ENOENT;
        case ErrorKind::kExists:
            return EEXIST;
        case ErrorKind::kNotEmpty:
            return ENOTEMPTY;
        case ErrorKind::kNotDirectory:
            return ENOTDIR;
        case ErrorKind::kIsDirectory:
            return EISDIR;
        case ErrorKind::kInvalid:
            return EINVAL;
        case ErrorKind::kNameTooLong:
            return ENAMETOOLONG;
        case ErrorKind::kTooBig:
            return EFBIG;
        case ErrorKind::kNoAttribute:
            return ENODATA;
        case ErrorKind::kRange:
            return ERANGE;
        case ErrorKind::kUnsupported:
            return EOPNOTSUPP;
        case ErrorKind::kReadOnly:
            return EROFS;
        case ErrorKind::kPermission:
            return EPERM;
        case ErrorKind::kCrossesMount:
            return EXDEV;
        case ErrorKind::kPastEnd:
            return ENXIO;
        case ErrorKind::kTooManyFiles:
            return ENFILE;
        case ErrorKind::kNoMemory:
            return ENOMEM;
        case ErrorKind::kInternal:
            return EIO;
    }
    return EIO;
}

std::unexpected<Error> fail(const volume::Error& error) {
    switch (error.kind) {
        case volume::ErrorKind::kTooLong:
            return fail(ErrorKind::kNameTooLong);
        case volume::ErrorKind::kBadParameter:
            return fail(ErrorKind::kInvalid);
        case volume::ErrorKind::kNoMemory:
            return fail(ErrorKind::kNoMemory);
        case volume::ErrorKind::kInternal:
            return fail(ErrorKind::kInternal);
        case volume::ErrorKind::kWrongPassword:
        case volume::ErrorKind::kDamaged:
        case volume::ErrorKind::kUnsupported:
        case volume::ErrorKind::kNotVolumeName:
            return fail(ErrorKind::kDamaged);
    }
    return fail(ErrorKind::kInternal);
}

}  // namespace extencfs::core
