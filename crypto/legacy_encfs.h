// SPDX-License-Identifier: Apache-2.0
// The primitives of EncFS 1.x volumes: HMAC-SHA1 folded to 64 bits, CBC and a doubled CFB whose IVs
// follow from a seed, and two ways from a password to a key. Kept for reading and writing those
// volumes only: weak (64-bit MACs, one key for all), used by nothing else.
// Source: encfs/legacy/FORMAT.md, "Primitives".
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "crypto/bytes.h"
#include "crypto/error.h"

namespace extencfs::crypto {

enum class LegacyCipher : std::uint8_t { kAes, kBlowfish, kCamellia };

// Of the cipher, and of its IVs, in bytes.
constexpr std::size_t legacy_block_size(LegacyCipher cipher) {
    return cipher == LegacyCipher::kBlowfish ? 8 : 16;
}
// The key size in bytes that EncFS takes for `bits` of the configuration: the nearest that exists.
std::size_t legacy_key_size(LegacyCipher cipher, std::uint64_t bits);

// A cipher of a volume, as its configuration names it.
struct LegacyCipherSpec {
    LegacyCipher cipher = LegacyCipher::kAes;
    int major = 3;  // of the interface, 1 to 3: how IVs follow from seeds
    std::size_t key_size = 32;
    // Of a key and the IV that goes with it.
    std::size_t secret_size() const { return key_size + legacy_block_size(cipher); }
};

// A key with its IV. THREADS: any, in parallel.
class LegacyKey {
  public:
    // `secret`: spec.secret_size() bytes, the key and then the IV.
    // ERRORS: kBadParameter, kUnavailable (no provider has the cipher), kNoMemory, kInternal.
    static Result<LegacyKey> create(const LegacyCipherSpec& spec, Bytes secret);
    ~LegacyKey();
    LegacyKey(LegacyKey&&) noexcept;
    LegacyKey& operator=(LegacyKey&&) noexcept;

    const LegacyCipherSpec& spec() const;
    std::size_t block_size() const { return legacy_block_size(spec().cipher); }

    // With a chain value, even 0, eight more bytes are hashed than without. ERRORS: kInternal.
    Result<std::uint64_t> mac64(Bytes data, std::optional<std::uint64_t> chain = {}) const;

    // CBC without padding, in place. REQUIRES: whole cipher blocks. ERRORS: kBadParameter,
    // kInternal; the bytes are then worthless.
    [[nodiscard]] Result<void> encode_blocks(MutBytes data, std::uint64_t seed) const;
    [[nodiscard]] Result<void> decode_blocks(MutBytes data, std::uint64_t seed) const;
    // Any length from 1, in place. ERRORS: as above.
    [[nodiscard]] Result<void> encode_stream(MutBytes data, std::uint64_t seed) const;
    [[nodiscard]] Result<void> decode_stream(MutBytes data, std::uint64_t seed) const;

  private:
    struct State;
    explicit LegacyKey(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// A MAC of 64 bits folded to 32, to 16.
constexpr std::uint32_t fold32(std::uint64_t mac) {
    return static_cast<std::uint32_t>(mac >> 32) ^ static_cast<std::uint32_t>(mac);
}
constexpr std::uint16_t fold16(std::uint64_t mac) {
    return static_cast<std::uint16_t>(fold32(mac) >> 16 ^ fold32(mac));
}

// Fills `out` (a key and its IV). PBKDF2 with HMAC-SHA1 (RFC 8018). ERRORS: kBadParameter (no
// password, iterations of 0 or above 2^31 - 1), kInternal.
[[nodiscard]] Result<void> legacy_pbkdf2(Bytes password, Bytes salt, std::uint32_t iterations,
                                         MutBytes out);
// Of configurations without a salt: 16 rounds of SHA-1. ERRORS: kBadParameter, kInternal.
[[nodiscard]] Result<void> legacy_bytes_to_key(const LegacyCipherSpec& spec, Bytes password,
                                               MutBytes out);

// The first eight bytes of the SHA-1 of `number`: what is random in a file's header follows from
// its inode number in a view of a directory that is not encrypted. ERRORS: kInternal, kNoMemory.
Result<std::uint64_t> legacy_number_hash(std::uint64_t number);

}  // namespace extencfs::crypto
