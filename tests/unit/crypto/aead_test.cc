// SPDX-License-Identifier: Apache-2.0
#include "crypto/aead.h"

#include <sodium.h>

#include <atomic>
#include <thread>

#include "tests/unit/crypto/support.h"

namespace extencfs::crypto {

namespace {

struct Message {
    ByteVector nonce;
    ByteVector aad;
    ByteVector cipher;
    ByteArray<kAeadTagSize> tag;
};

AeadContext keyed(AeadKind kind, BytesN<32> key) {
    auto context = AeadContext::create(kind);
    REQUIRE(context.has_value());
    REQUIRE(context->set_key(key).has_value());
    return std::move(*context);
}

Message sealed(AeadContext& aead, Bytes plain, std::size_t aad_size) {
    Message m{random_bytes(aead_nonce_size(aead.kind())),
              random_bytes(aad_size),
              ByteVector(plain.size()),
              {}};
    REQUIRE(aead.seal(m.nonce, m.aad, plain, m.cipher, m.tag).has_value());
    return m;
}

// libsodium's own implementation of the same cipher: ciphertext, then tag.
ByteVector sodium_sealed(AeadKind kind, Bytes key, const Message& m, Bytes plain) {
    ByteVector out(plain.size() + kAeadTagSize);
    unsigned long long size = 0;
    const auto seal = kind == AeadKind::kAes256Gcm ? crypto_aead_aes256gcm_encrypt
                                                   : crypto_aead_xchacha20poly1305_ietf_encrypt;
    REQUIRE(seal(raw(MutBytes(out)), &size, raw(plain), plain.size(), raw(Bytes(m.aad)),
                 m.aad.size(), nullptr, raw(Bytes(m.nonce)), raw(key)) == 0);
    REQUIRE(size == out.size());
    return out;
}

// Opens a changed message and checks that it is refused without leaving plaintext behind.
void check_refused(AeadContext& aead, const Message& m) {
    ByteVector plain(m.cipher.size(), std::byte{0xA5});
    const auto opened = aead.open(m.nonce, m.aad, m.cipher, m.tag, plain);
    CHECK_FALSE(opened.has_value());
    if (!opened) CHECK(opened.error() == Error::kAuthentication);
    CHECK(all_zero(plain));
}

template <typename Container>
void check_each_flip_refused(AeadContext& aead, Message& m, Container& part) {
    for (std::size_t bit = 0; bit < part.size() * 8; ++bit) {
        part[bit / 8] ^= std::byte{1} << (bit % 8);
        check_refused(aead, m);
        part[bit / 8] ^= std::byte{1} << (bit % 8);
    }
}

}  // namespace

TEST_CASE("AES-256-GCM matches the vectors of its specification", "[crypto][aead]") {
    // "The Galois/Counter Mode of Operation" (McGrew, Viega), test cases 13, 14 and 15; the self
    // test has 16.
    struct Vector {
        const char *key, *nonce, *plain, *cipher, *tag;
    };
    const Vector vectors[] = {
        {"0000000000000000000000000000000000000000000000000000000000000000",
         "000000000000000000000000", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
        {"0000000000000000000000000000000000000000000000000000000000000000",
         "000000000000000000000000", "00000000000000000000000000000000",
         "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
         "cafebabefacedbaddecaf888",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e24"
         "49a6b525b16aedf5aa0de657ba637b391aafd255",
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b10"
         "56828838c5f61e6393ba7a0abcc9f662898015ad",
         "b094dac5d93471bdec1a502270e3cc6c"}};
    for (const Vector& v : vectors) {
        AeadContext aead = keyed(AeadKind::kAes256Gcm, BytesN<32>(from_hex(v.key)));
        const ByteVector plain = from_hex(v.plain);
        ByteVector cipher(plain.size());
        ByteArray<16> tag{};
        REQUIRE(aead.seal(from_hex(v.nonce), {}, plain, cipher, tag).has_value());
        CHECK(hex_encode(cipher) == v.cipher);
        CHECK(hex_encode(tag) == v.tag);
    }
}

TEST_CASE("both ciphers equal libsodium's own for all sizes", "[crypto][aead]") {
    REQUIRE(sodium_init() >= 0);
    const AeadKind kind = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    if (kind == AeadKind::kAes256Gcm && crypto_aead_aes256gcm_is_available() == 0) return;
    std::vector<std::size_t> sizes{255, 256, 257, 1023, 2016, 4064, 4096, 65537, 1048576};
    for (std::size_t size = 0; size < 200; ++size) sizes.push_back(size);
    for (const std::size_t size : sizes) {
        const auto key = random_array<32>();
        AeadContext aead = keyed(kind, key);
        const ByteVector plain = random_bytes(size);
        const Message m = sealed(aead, plain, size % 37);
        ByteVector ours = m.cipher;
        ours.insert(ours.end(), m.tag.begin(), m.tag.end());
        INFO("size " << size);
        CHECK(ours == sodium_sealed(kind, key, m, plain));
        ByteVector opened(size);
        REQUIRE(aead.open(m.nonce, m.aad, m.cipher, m.tag, opened).has_value());
        CHECK(opened == plain);
    }
}

TEST_CASE("any flipped bit is refused and the output wiped", "[crypto][aead]") {
    const AeadKind kind = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    const auto key = random_array<32>();
    AeadContext aead = keyed(kind, key);
    const ByteVector plain = random_bytes(97);
    Message m = sealed(aead, plain, 21);
    check_each_flip_refused(aead, m, m.cipher);
    check_each_flip_refused(aead, m, m.tag);
    check_each_flip_refused(aead, m, m.nonce);
    check_each_flip_refused(aead, m, m.aad);

    SECTION("a context that refused still opens what is right") {
        ByteVector opened(plain.size());
        REQUIRE(aead.open(m.nonce, m.aad, m.cipher, m.tag, opened).has_value());
        CHECK(opened == plain);
    }
    SECTION("associated data that is cut or grown") {
        Message cut = m;
        cut.aad.pop_back();
        check_refused(aead, cut);
        cut.aad.clear();
        check_refused(aead, cut);
        Message grown = m;
        grown.aad.push_back(std::byte{});
        check_refused(aead, grown);
    }
    SECTION("a message that is cut or grown") {
        Message cut = m;
        cut.cipher.pop_back();
        check_refused(aead, cut);
        Message grown = m;
        grown.cipher.push_back(std::byte{});
        check_refused(aead, grown);
    }
    SECTION("another key, each bit") {
        for (std::size_t bit = 0; bit < 256; ++bit) {
            auto other = key;
            other[bit / 8] ^= std::byte{1} << (bit % 8);
            REQUIRE(aead.set_key(other).has_value());
            check_refused(aead, m);
        }
    }
    SECTION("the other cipher") {
        const auto other =
            kind == AeadKind::kAes256Gcm ? AeadKind::kXChaCha20Poly1305 : AeadKind::kAes256Gcm;
        AeadContext wrong = keyed(other, key);
        Message moved = m;
        moved.nonce.resize(aead_nonce_size(other));
        check_refused(wrong, moved);
    }
}

TEST_CASE("a message without plaintext still authenticates", "[crypto][aead]") {
    const AeadKind kind = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    AeadContext aead = keyed(kind, random_array<32>());
    Message m = sealed(aead, {}, 16);
    CHECK(aead.open(m.nonce, m.aad, m.cipher, m.tag, {}).has_value());
    check_each_flip_refused(aead, m, m.tag);
    check_each_flip_refused(aead, m, m.aad);
    Message bare = sealed(aead, {}, 0);
    CHECK(aead.open(bare.nonce, {}, {}, bare.tag, {}).has_value());
    check_each_flip_refused(aead, bare, bare.tag);
}

TEST_CASE("sealing and opening work in place", "[crypto][aead]") {
    const AeadKind kind = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    AeadContext aead = keyed(kind, random_array<32>());
    for (const std::size_t size : {1U, 32U, 97U, 4064U}) {
        const ByteVector plain = random_bytes(size);
        const Message m = sealed(aead, plain, 8);
        ByteVector buffer = plain;
        ByteArray<16> tag{};
        REQUIRE(aead.seal(m.nonce, m.aad, buffer, buffer, tag).has_value());
        CHECK(buffer == m.cipher);
        CHECK(tag == m.tag);
        REQUIRE(aead.open(m.nonce, m.aad, buffer, tag, buffer).has_value());
        CHECK(buffer == plain);
        buffer = m.cipher;
        tag[3] ^= std::byte{4};
        CHECK_FALSE(aead.open(m.nonce, m.aad, buffer, tag, buffer).has_value());
        CHECK(all_zero(buffer));
    }
}

TEST_CASE("one context alternates keys and directions", "[crypto][aead]") {
    const AeadKind kind = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    constexpr std::size_t kKeys = 5;
    std::vector<ByteArray<32>> keys;
    std::vector<AeadContext> fresh;
    for (std::size_t i = 0; i < kKeys; ++i) {
        keys.push_back(random_array<32>());
        fresh.push_back(keyed(kind, keys.back()));
    }
    auto shared = AeadContext::create(kind);
    REQUIRE(shared.has_value());
    const ByteVector plain = random_bytes(200);
    ByteVector opened(plain.size());
    const ByteVector choices = random_bytes(3000);
    for (std::size_t i = 0; i + 1 < choices.size(); i += 2) {
        const std::size_t which = std::to_integer<std::size_t>(choices[i]) % kKeys;
        REQUIRE(shared->set_key(keys[which]).has_value());
        AeadContext& sealer =
            std::to_integer<int>(choices[i + 1]) % 2 == 0 ? *shared : fresh[which];
        AeadContext& opener = &sealer == &*shared ? fresh[which] : *shared;
        const Message m = sealed(sealer, plain, i % 20);
        REQUIRE(opener.open(m.nonce, m.aad, m.cipher, m.tag, opened).has_value());
        REQUIRE(opened == plain);
    }
}

TEST_CASE("wrong sizes and a missing key are refused", "[crypto][aead]") {
    const AeadKind kind = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    const std::size_t nonce_size = aead_nonce_size(kind);
    const ByteVector text = random_bytes(40);
    ByteVector out(40, std::byte{0xA5});
    ByteArray<16> tag{};
    const auto check_bad = [](const Result<void>& result) {
        REQUIRE_FALSE(result.has_value());
        CHECK(result.error() == Error::kBadParameter);
    };
    auto aead = AeadContext::create(kind);
    REQUIRE(aead.has_value());
    check_bad(aead->seal(random_bytes(nonce_size), {}, text, out, tag));
    check_bad(aead->open(random_bytes(nonce_size), {}, text, tag, out));
    CHECK(all_zero(out));
    REQUIRE(aead->set_key(random_array<32>()).has_value());
    for (const std::size_t wrong : {std::size_t{0}, nonce_size - 1, nonce_size + 1}) {
        check_bad(aead->seal(random_bytes(wrong), {}, text, out, tag));
        check_bad(aead->open(random_bytes(wrong), {}, text, tag, out));
    }
    const MutBytes shorter = MutBytes(out).first(39);
    check_bad(aead->seal(random_bytes(nonce_size), {}, text, shorter, tag));
    check_bad(aead->open(random_bytes(nonce_size), {}, text, tag, shorter));
}

TEST_CASE("a moved context keeps its key", "[crypto][aead]") {
    const auto key = random_array<32>();
    AeadContext first = keyed(AeadKind::kAes256Gcm, key);
    const ByteVector plain = random_bytes(64);
    const Message m = sealed(first, plain, 4);
    AeadContext second = std::move(first);
    AeadContext third = keyed(AeadKind::kXChaCha20Poly1305, key);
    third = std::move(second);
    CHECK(third.kind() == AeadKind::kAes256Gcm);
    ByteVector opened(plain.size());
    REQUIRE(third.open(m.nonce, m.aad, m.cipher, m.tag, opened).has_value());
    CHECK(opened == plain);
}

TEST_CASE("each thread has its own context", "[crypto][aead]") {
    const AeadKind kind = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    const auto own = thread_aead(kind);
    REQUIRE(own.has_value());
    CHECK(*thread_aead(kind) == *own);

    constexpr int kThreads = 4;
    const auto key = random_array<32>();
    const ByteVector plain = random_bytes(2048);
    AeadContext reference = keyed(kind, key);
    const Message m = sealed(reference, plain, 24);
    std::atomic<int> failures = 0;
    std::atomic<int> shared_contexts = 0;
    // Catch's assertions are not for several threads, so the threads only count.
    const auto work = [&] {
        for (int i = 0; i < 500; ++i) {
            const auto aead = thread_aead(kind);
            if (!aead || *aead == *own) ++shared_contexts;
            ByteArray<32> noise_key = key;
            noise_key[0] ^= static_cast<std::byte>(i % 3);
            ByteVector out(plain.size());
            ByteArray<16> tag{};
            if (!(*aead)->set_key(noise_key) || !(*aead)->seal(m.nonce, m.aad, plain, out, tag) ||
                (tag == m.tag) != (i % 3 == 0)) {
                ++failures;
            }
            if (!(*aead)->set_key(key) || !(*aead)->open(m.nonce, m.aad, m.cipher, m.tag, out) ||
                out != plain) {
                ++failures;
            }
        }
    };
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) threads.emplace_back(work);
    threads.clear();
    CHECK(failures == 0);
    CHECK(shared_contexts == 0);
}

TEST_CASE("a context that forgot its key needs another", "[crypto][aead]") {
    for (const AeadKind kind : {AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305}) {
        const auto own = thread_aead(kind);
        REQUIRE(own);
        const ByteArray<32> key{std::byte{7}};
        const ByteVector nonce(aead_nonce_size(kind));
        const ByteVector plain(100, std::byte{1});
        ByteVector first(100), second(100);
        ByteArray<kAeadTagSize> tag{}, other{};
        REQUIRE((*own)->set_key(key));
        REQUIRE((*own)->seal(nonce, {}, plain, first, tag));
        forget_thread_keys();
        CHECK((*own)->seal(nonce, {}, plain, second, other).error() == Error::kBadParameter);
        CHECK((*own)->open(nonce, {}, first, tag, second).error() == Error::kBadParameter);
        // The same key again is not taken for the one that is gone.
        REQUIRE((*own)->set_key(key));
        REQUIRE((*own)->seal(nonce, {}, plain, second, other));
        CHECK(first == second);
        CHECK(tag == other);
        REQUIRE((*own)->open(nonce, {}, first, tag, second));
        CHECK(second == plain);
    }
}

}  // namespace extencfs::crypto
