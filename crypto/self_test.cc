// SPDX-License-Identifier: Apache-2.0
#include "crypto/self_test.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "crypto/aead.h"
#include "crypto/encoding.h"
#include "crypto/kdf.h"
#include "crypto/name_cipher.h"
#include "crypto/random.h"
#include "crypto/secret.h"

namespace extencfs::crypto {

namespace {

// All in hexadecimal.
struct KnownSeal {
    std::string_view key;
    std::string_view nonce;  // unused by SIV
    std::string_view aad;
    std::string_view plain;
    std::string_view cipher;
    std::string_view tag;
};

// "The Galois/Counter Mode of Operation" (McGrew, Viega), appendix B, test case 16.
constexpr KnownSeal kKnownGcm{
    "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
    "cafebabefacedbaddecaf888",
    "feedfacedeadbeeffeedfacedeadbeefabaddad2",
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b5"
    "25b16aedf5aa0de657ba637b39",
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b10568288"
    "38c5f61e6393ba7a0abcc9f662",
    "76fc6ece0f4e1768cddf8853bb2d551b"};

// draft-irtf-cfrg-xchacha-03, A.3.1.
constexpr KnownSeal kKnownXChaCha{
    "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
    "404142434445464748494a4b4c4d4e4f5051525354555657",
    "50515253c0c1c2c3c4c5c6c7",
    "4c616469657320616e642047656e746c656d656e206f662074686520636c617373206f66202739393a204966204920"
    "636f756c64206f6666657220796f75206f6e6c79206f6e652074697020666f7220746865206675747572652c207375"
    "6e73637265656e20776f756c642062652069742e",
    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e"
    "39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3"
    "fff921f9664c97637da9768812f615c68b13b52e",
    "c0875924c1c7987947deafd8780acf49"};

// The example of RFC 5297 A.1 with a 64-byte key, as in OpenSSL's evpciph_aes_siv.txt.
constexpr KnownSeal kKnownSiv{
    "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfefff0f1f2f3f4f5f6f7f8f9fafbfcfdfe"
    "fffffefdfcfbfaf9f8f7f6f5f4f3f2f1f0",
    "",
    "101112131415161718191a1b1c1d1e1f2021222324252627",
    "112233445566778899aabbccddee",
    "f3b05a55498ec2552690b89810e4",
    "724dfb2eaf94dbb19b0ba3a299a0801e"};

ByteVector from_hex(std::string_view text) {
    return hex_decode(text).value_or(ByteVector{});
}

bool aead_is_right(AeadKind kind, const KnownSeal& known) {
    const ByteVector key = from_hex(known.key);
    const ByteVector nonce = from_hex(known.nonce);
    const ByteVector aad = from_hex(known.aad);
    const ByteVector plain = from_hex(known.plain);
    Result<AeadContext> aead = AeadContext::create(kind);
    if (!aead || key.size() != kAeadKeySize) return false;
    if (!aead->set_key(BytesN<kAeadKeySize>(key))) return false;
    ByteVector cipher(plain.size());
    ByteArray<kAeadTagSize> tag{};
    if (!aead->seal(nonce, aad, plain, cipher, tag)) return false;
    if (cipher != from_hex(known.cipher) || hex_encode(tag) != known.tag) return false;
    ByteVector opened(plain.size());
    if (!aead->open(nonce, aad, cipher, tag, opened) || opened != plain) return false;
    tag[0] ^= std::byte{1};
    const Result<void> forged = aead->open(nonce, aad, cipher, tag, opened);
    return !forged && forged.error() == Error::kAuthentication;
}

bool siv_is_right(const KnownSeal& known) {
    const ByteVector key = from_hex(known.key);
    const ByteVector aad = from_hex(known.aad);
    const ByteVector plain = from_hex(known.plain);
    if (key.size() != 64) return false;
    const Result<NameCipher> siv = NameCipher::create(BytesN<64>(key));
    if (!siv) return false;
    ByteVector sealed(plain.size() + kSivTagSize);
    // Twice: a library whose contexts remember the last message would fail the second time.
    for (int round = 0; round < 2; ++round) {
        if (!siv->seal(aad, plain, sealed)) return false;
        if (hex_encode(sealed) != std::string(known.tag) + std::string(known.cipher)) return false;
        ByteVector opened(plain.size());
        if (!siv->open(aad, sealed, opened) || opened != plain) return false;
    }
    sealed.back() ^= std::byte{1};
    ByteVector opened(plain.size());
    const Result<void> forged = siv->open(aad, sealed, opened);
    return !forged && forged.error() == Error::kAuthentication;
}

// Computed with Python's hashlib.blake2b, which follows RFC 7693; the first is BLAKE2b-256("abc").
bool blake2b_is_right() {
    ByteArray<32> key{};
    for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i);
    ByteArray<16> mac{};
    ByteArray<32> short_out{};
    ByteArray<64> long_out{};
    hash256(bytes_of("abc"), short_out);
    if (hex_encode(short_out) != "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319")
        return false;
    mac128(key, bytes_of("abc"), mac);
    if (hex_encode(mac) != "1a64be47e4729d951c302ee543f97cf3") return false;
    mac256(key, bytes_of("abc"), short_out);
    if (hex_encode(short_out) != "d63a32d3e44738d7907f964316c241adaba0abfeabc32349677578a15a203f7f")
        return false;
    derive_key(key, KeyPurpose::kFile, bytes_of("context"), short_out);
    if (hex_encode(short_out) != "6beb9c509cb58c58b153e9ffb8e7501351757acd9b97624b400fc93f6f00e750")
        return false;
    derive_key(key, KeyPurpose::kNames, bytes_of("context"), long_out);
    return hex_encode(long_out) ==
           "062889f079c87fd429d486563da8b6abb67a66db44198af4ecec24d083505309"
           "252c3a0b8ae678c2d79edb7f0a2c907d9a62bd653954e389963145261526d94e";
}

bool random_is_alive() {
    std::array<ByteArray<32>, 3> draws{};
    for (ByteArray<32>& draw : draws) {
        if (!fill_random(draw)) return false;
    }
    // Equal or untouched draws have a chance of 2^-256 with a working generator.
    return draws[0] != draws[1] && draws[1] != draws[2] && draws[0] != draws[2] &&
           std::ranges::none_of(draws, [](const auto& draw) { return draw == ByteArray<32>{}; });
}

}  // namespace

std::expected<void, std::string> self_test() {
    if (!random_is_alive()) return std::unexpected("getrandom");
    if (!blake2b_is_right()) return std::unexpected("BLAKE2b");
    if (!aead_is_right(AeadKind::kAes256Gcm, kKnownGcm)) return std::unexpected("AES-256-GCM");
    if (!aead_is_right(AeadKind::kXChaCha20Poly1305, kKnownXChaCha)) {
        return std::unexpected("XChaCha20-Poly1305");
    }
    if (!siv_is_right(kKnownSiv)) return std::unexpected("AES-256-SIV");
    return {};
}

}  // namespace extencfs::crypto
