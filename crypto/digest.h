// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4) of what is no secret.
#pragma once

#include "crypto/bytes.h"

namespace extencfs::crypto {

// THREADS: any.
ByteArray<32> sha256(Bytes data);

}  // namespace extencfs::crypto
