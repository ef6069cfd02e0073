// SPDX-License-Identifier: Apache-2.0
// Authenticated encryption with associated data: AES-256-GCM (NIST SP 800-38D) and
// XChaCha20-Poly1305 (RFC 8439 with HChaCha20, draft-irtf-cfrg-xchacha-03).
#pragma once

#include <cstddef>
#include <memory>

#include "crypto/bytes.h"
#include "crypto/error.h"

namespace extencfs::crypto {

enum class AeadKind : std::uint8_t {
    kAes256Gcm = 1,
    kXChaCha20Poly1305 = 2,
};

constexpr std::size_t kAeadKeySize = 32;
constexpr std::size_t kAeadTagSize = 16;
constexpr std::size_t aead_nonce_size(AeadKind kind) {
    return kind == AeadKind::kAes256Gcm ? 12 : 24;
}

// A cipher context that is made once for each thread and re-keyed as needed: setting a key costs
// about 0.2 us, making a context ten times as much. Remembers (a copy in locked memory of) the key
// that is set, so set_key with the same key is a compare.
// THREADS: one at a time.
class AeadContext {
  public:
    // ERRORS: kUnavailable, kNoMemory.
    static Result<AeadContext> create(AeadKind kind);
    ~AeadContext();
    AeadContext(AeadContext&&) noexcept;
    AeadContext& operator=(AeadContext&&) noexcept;

    AeadKind kind() const;
    [[nodiscard]] Result<void> set_key(BytesN<kAeadKeySize> key);
    // Wipes the key and everything that was made of it; needs another before the next message.
    void forget_key();

    // Encrypts `plain` to `cipher` (equal sizes; may be the same memory exactly, may not overlap
    // otherwise) and writes the tag. REQUIRES: set_key; `nonce` of aead_nonce_size(kind()), never
    // used before with this key. ERRORS: kBadParameter (no key, sizes), kInternal.
    [[nodiscard]] Result<void> seal(Bytes nonce, Bytes aad, Bytes plain, MutBytes cipher,
                                    MutBytesN<kAeadTagSize> tag);
    // The reverse. On kAuthentication the output is wiped: unauthenticated plaintext is never
    // visible to the caller; nor on any other error. ERRORS: as seal, kAuthentication.
    [[nodiscard]] Result<void> open(Bytes nonce, Bytes aad, Bytes cipher, BytesN<kAeadTagSize> tag,
                                    MutBytes plain);

  private:
    struct State;
    explicit AeadContext(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// The calling thread's own context of that kind (made at first use).
// ERRORS: as AeadContext::create.
Result<AeadContext*> thread_aead(AeadKind kind);
// Wipes the key that the calling thread's contexts hold: after a key that is not used again.
void forget_thread_keys();

}  // namespace extencfs::crypto
