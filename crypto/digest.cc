// SPDX-License-Identifier: Apache-2.0
#include "crypto/digest.h"

#include <sodium.h>

namespace extencfs::crypto {

ByteArray<32> sha256(Bytes data) {
    ByteArray<32> digest;
    (void)crypto_hash_sha256(raw(MutBytes(digest)), raw(data), data.size());
    return digest;
}

}  // namespace extencfs::crypto
