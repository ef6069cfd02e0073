// SPDX-License-Identifier: Apache-2.0
// AES-GCM-SIV (RFC 8452), which OpenSSL has from 3.2 on only: for volumes of EncFS 2 (.encfs7).
// POLYVAL is computed without tables and without branches on data.
#pragma once

#include <cstddef>

#include "crypto/bytes.h"
#include "crypto/error.h"
#include "crypto/secret.h"

namespace extencfs::crypto {

constexpr std::size_t kGcmSivNonceSize = 12;
constexpr std::size_t kGcmSivTagSize = 16;

// THREADS: any, in parallel.
class GcmSivKey {
  public:
    // `key`: 16 or 32 bytes. ERRORS: kBadParameter.
    static Result<GcmSivKey> create(Bytes key);

    // In place. A nonce that comes again tells no more than whether the plaintext did.
    // ERRORS: kNoMemory, kInternal.
    [[nodiscard]] Result<void> seal(BytesN<kGcmSivNonceSize> nonce, Bytes aad, MutBytes data,
                                    MutBytesN<kGcmSivTagSize> tag) const;
    // In place; on any error `data` is zero. ERRORS: as above, kAuthentication.
    [[nodiscard]] Result<void> open(BytesN<kGcmSivNonceSize> nonce, Bytes aad, MutBytes data,
                                    BytesN<kGcmSivTagSize> tag) const;

  private:
    explicit GcmSivKey(Bytes key) : key_(key) {}
    SecretBytes key_;
};

}  // namespace extencfs::crypto
