// SPDX-License-Identifier: Apache-2.0
#include "crypto/error.h"

namespace extencfs::crypto {

const char* describe(Error error) {
    switch (error) {
        case Error::kAuthentication:
            return "authentication failure";
        case Error::kBadParameter:
            return "parameter out of range";
        case Error::kUnavailable:
            return "algorithm missing from the cryptographic library";
        case Error::kNoMemory:
            return "lack of memory";
        case Error::kInternal:
            return "failure inside the cryptographic library";
    }
    return "unknown cryptographic failure";
}

}  // namespace extencfs::crypto
