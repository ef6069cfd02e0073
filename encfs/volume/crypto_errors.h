// SPDX-License-Identifier: Apache-2.0
// crypto::Error to volume::Error. Inside encfs/volume only.
#pragma once

#include <expected>
#include <string>

#include "crypto/error.h"
#include "encfs/volume/error.h"

namespace extencfs::volume {

inline std::unexpected<Error> fail(ErrorKind kind, std::string detail) {
    return std::unexpected(Error{kind, std::move(detail)});
}

// `what` names the thing that was sealed or opened ("symlink target").
inline std::unexpected<Error> from_crypto(crypto::Error error, const char* what) {
    const std::string detail = std::string(what) + ": " + crypto::describe(error);
    switch (error) {
        case crypto::Error::kAuthentication:
            return fail(ErrorKind::kDamaged, detail);
        case crypto::Error::kNoMemory:
            return fail(ErrorKind::kNoMemory, detail);
        case crypto::Error::kUnavailable:
            return fail(ErrorKind::kUnsupported, detail);
        case crypto::Error::kBadParameter:
        case crypto::Error::kInternal:
            break;
    }
    return fail(ErrorKind::kInternal, detail);
}

}  // namespace extencfs::volume
