// SPDX-License-Identifier: Apache-2.0
// The keys of the vectors in encfs/legacy/FORMAT.md.
#pragma once

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "crypto/encoding.h"
#include "crypto/legacy_encfs.h"

namespace extencfs::legacy {

using crypto::LegacyCipher;
using crypto::LegacyKey;

// count bytes: first, first + step, ...
inline ByteVector counted(std::size_t count, unsigned first = 0, unsigned step = 1) {
    ByteVector bytes(count);
    for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::byte>(first + step * i);
    return bytes;
}

inline ByteVector joined(Bytes a, Bytes b) {
    ByteVector out(a.begin(), a.end());
    out.insert(out.end(), b.begin(), b.end());
    return out;
}

inline std::shared_ptr<const LegacyKey> key_of(LegacyCipher cipher, int major, Bytes key,
                                               Bytes iv) {
    auto made = LegacyKey::create({cipher, major, key.size()}, joined(key, iv));
    REQUIRE(made.has_value());
    return std::make_shared<const LegacyKey>(std::move(*made));
}

// AES-256: 00 .. 1f, IV 80 .. 8f.
inline std::shared_ptr<const LegacyKey> aes_key(int major = 3) {
    return key_of(LegacyCipher::kAes, major, counted(32), counted(16, 0x80));
}

// Blowfish-160: 00 .. 13, IV 80 .. 87.
inline std::shared_ptr<const LegacyKey> blowfish_key() {
    return key_of(LegacyCipher::kBlowfish, 3, counted(20), counted(8, 0x80));
}

inline std::string hex(Bytes bytes) {
    return crypto::hex_encode(bytes);
}

}  // namespace extencfs::legacy
