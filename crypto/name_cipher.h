// SPDX-License-Identifier: Apache-2.0
// Deterministic authenticated encryption of names: AES-256-SIV (RFC 5297; 64-byte key), through
// OpenSSL's EVP.
#pragma once

#include <memory>

#include "crypto/bytes.h"
#include "crypto/error.h"
#include "crypto/secret.h"

namespace extencfs::crypto {

constexpr std::size_t kSivTagSize = 16;

// A keyed AES-SIV. OpenSSL's SIV contexts are single-use, so each call copies a keyed template
// (re-keying would cost three times that); about 2 us for a short name. THREADS: any, in parallel.
class NameCipher {
  public:
    static Result<NameCipher> create(BytesN<64> key);
    ~NameCipher();
    NameCipher(NameCipher&&) noexcept;
    NameCipher& operator=(NameCipher&&) noexcept;

    // out = SIV tag (16) || ciphertext (plain.size()). REQUIRES: plain not empty,
    // out.size() == plain.size() + 16. `aad` is one associated data component,
    // or none when it is empty. ERRORS: kBadParameter (sizes), kNoMemory, kInternal.
    [[nodiscard]] Result<void> seal(Bytes aad, Bytes plain, MutBytes out) const;
    // REQUIRES: sealed.size() > 16, plain.size() == sealed.size() - 16.
    // ERRORS: kAuthentication (output wiped), kBadParameter (sizes), kNoMemory, kInternal.
    [[nodiscard]] Result<void> open(Bytes aad, Bytes sealed, MutBytes plain) const;

  private:
    struct State;
    explicit NameCipher(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace extencfs::crypto
