// SPDX-License-Identifier: Apache-2.0
#include "crypto/name_cipher.h"

#include <atomic>
#include <thread>

#include "tests/unit/crypto/support.h"

namespace extencfs::crypto {

namespace {

NameCipher cipher_with(Bytes key) {
    auto cipher = NameCipher::create(BytesN<64>(key));
    REQUIRE(cipher.has_value());
    return std::move(*cipher);
}

ByteVector sealed(const NameCipher& cipher, Bytes aad, Bytes plain) {
    ByteVector out(plain.size() + kSivTagSize);
    REQUIRE(cipher.seal(aad, plain, out).has_value());
    return out;
}

void check_refused(const NameCipher& cipher, Bytes aad, Bytes from) {
    ByteVector plain(from.size() - kSivTagSize, std::byte{0xA5});
    const auto opened = cipher.open(aad, from, plain);
    CHECK_FALSE(opened.has_value());
    if (!opened) CHECK(opened.error() == Error::kAuthentication);
    CHECK(all_zero(plain));
}

}  // namespace

TEST_CASE("AES-256-SIV matches the known answers", "[crypto][name_cipher]") {
    // Project Wycheproof, aes_siv_cmac_test.json, keys of 512 bits: whole blocks, parts of blocks,
    // and a tag whose two cleared bits decide the counter.
    struct Vector {
        const char *key, *aad, *plain, *cipher, *tag;
    };
    const Vector vectors[] = {
        {"c25cafc6018b98dfbb79a40ec89c575a4f88c4116489bba27707479800c0130235334a45dbe8d8dae3da8dcb4"
         "5bbe5dce031b0f68ded544fda7eca30d6749442",
         "deeb0ccf3aef47a296ed1ca8f4ae5907", "beec61030fa3d670337196beade6aeaa",
         "a2626aae22f5c17c9aad4b501f4416e4", "5865208eab9163db85cab9f96d846234"},
        {"97bfd0f3e9bb8167bbb55f4cdc14529d8307c0ec2c3fe8bc88522d05c1261ba460c9cb4116f630edd74d413ec"
         "417324c6e29b566fb2dd3df18e07b53b1f9f83b",
         "1cda342c166ea208df5c56bcf995a59b",
         "48ef10ccb1978b53ae73167abe1cc538fa80da3f5df93e3d5c4e9a9ad1f213504f22a694b98a35ad67620af9d"
         "8a29fc7",
         "8ccee46deb66dd695c593cde1d7645c72796e42a1733b6705753631b9b626991ddbd28473ce75cfdc4c14d20e"
         "66f212d",
         "d55c5d0af0260dc1123adb5d7869201f"},
        {"e2c5662bb18fbb411d0304e4241db073fe60a4704fee290073513038a22b4cd542580b2b4edbc37e3de01c0cb"
         "61abcad46986cdc491ce9e5ae5af223ff58b953",
         "fab912dec29a34aabfaef176", "0d", "1a", "1c6969ecb15741a9959b7a8492250e39"},
        {"c0f4bede68c6ed5ad14918e2ddeced692dfd5419c04204d5b96f4ca47078b07028c6fb87b1b490d875f070bbe"
         "4d790f65e5df19947f02c9d3a4e493b542d0291",
         "b411e4d2facca67ea4a9f2a1",
         "2f358d4534559ac99dd71798b7925705d6f013f6b848ffe01cc86cef09d88f",
         "c9303a4e4819318315ae08839bcce558e4741817ec08dae406bbfc09f59aa9",
         "d27ae26dfe02e3eedf544e1b452cb0f0"},
        {"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2"
         "c2d2e2f303132333435363738393a3b3c3d3e3f",
         "000102030405060708090a0b0c0d0e0f", "404aa73280eb830afde284ba6b18d48a",
         "0fae016c086fc20546b374c24f3ebad0", "ffffffffffffffffffffffffffffffff"}};
    for (const Vector& v : vectors) {
        const NameCipher cipher = cipher_with(from_hex(v.key));
        const ByteVector aad = from_hex(v.aad);
        const ByteVector plain = from_hex(v.plain);
        const ByteVector out = sealed(cipher, aad, plain);
        CHECK(hex_encode(out) == std::string(v.tag) + v.cipher);
        ByteVector opened(plain.size());
        CHECK(cipher.open(aad, out, opened).has_value());
        CHECK(opened == plain);
    }
}

TEST_CASE("one name cipher serves any number of names", "[crypto][name_cipher]") {
    const NameCipher cipher = cipher_with(random_bytes(64));
    const ByteVector dir_id = random_bytes(16);
    for (int i = 0; i < 2000; ++i) {
        const ByteVector plain = random_bytes(1 + static_cast<std::size_t>(i) % 256);
        const ByteVector first = sealed(cipher, dir_id, plain);
        REQUIRE(first == sealed(cipher, dir_id, plain));
        ByteVector opened(plain.size());
        REQUIRE(cipher.open(dir_id, first, opened).has_value());
        REQUIRE(opened == plain);
        // A refused name between two good ones must not disturb them.
        if (i % 10 == 0) check_refused(cipher, random_bytes(16), first);
    }
}

TEST_CASE("equal names differ between directories and keys", "[crypto][name_cipher]") {
    const ByteVector key = random_bytes(64);
    const NameCipher cipher = cipher_with(key);
    const ByteVector plain = random_bytes(16);
    const ByteVector here = random_bytes(16);
    const ByteVector reference = sealed(cipher, here, plain);
    CHECK(reference != sealed(cipher, random_bytes(16), plain));
    CHECK(reference != sealed(cipher, {}, plain));
    CHECK(reference != sealed(cipher_with(random_bytes(64)), here, plain));
    CHECK(reference == sealed(cipher_with(key), here, plain));
}

TEST_CASE("a name with any flipped bit is refused and wiped", "[crypto][name_cipher]") {
    const ByteVector key = random_bytes(64);
    const NameCipher cipher = cipher_with(key);
    ByteVector aad = random_bytes(16);
    ByteVector name = sealed(cipher, aad, random_bytes(48));
    for (ByteVector* part : {&name, &aad}) {
        for (std::size_t bit = 0; bit < part->size() * 8; ++bit) {
            (*part)[bit / 8] ^= std::byte{1} << (bit % 8);
            check_refused(cipher, aad, name);
            (*part)[bit / 8] ^= std::byte{1} << (bit % 8);
        }
    }
    check_refused(cipher, {}, name);
    check_refused(cipher, aad, Bytes(name).first(name.size() - 1));
    for (std::size_t bit = 0; bit < 512; bit += 7) {
        ByteVector other = key;
        other[bit / 8] ^= std::byte{1} << (bit % 8);
        check_refused(cipher_with(other), aad, name);
    }
    ByteVector plain(48);
    CHECK(cipher.open(aad, name, plain).has_value());
}

TEST_CASE("the name cipher refuses wrong sizes", "[crypto][name_cipher]") {
    const NameCipher cipher = cipher_with(random_bytes(64));
    const ByteVector aad = random_bytes(16);
    ByteVector out(32);
    const auto check_bad = [](const Result<void>& result) {
        REQUIRE_FALSE(result.has_value());
        CHECK(result.error() == Error::kBadParameter);
    };
    check_bad(cipher.seal(aad, {}, MutBytes(out).first(16)));
    check_bad(cipher.seal(aad, random_bytes(16), MutBytes(out).first(31)));
    check_bad(cipher.seal(aad, random_bytes(15), out));
    for (const std::size_t size : {0U, 1U, 15U, 16U}) {
        check_bad(cipher.open(aad, random_bytes(size), {}));
    }
    check_bad(cipher.open(aad, random_bytes(32), MutBytes(out).first(15)));
    check_bad(cipher.open(aad, random_bytes(32), MutBytes(out).first(17)));
}

TEST_CASE("threads share a name cipher", "[crypto][name_cipher]") {
    NameCipher made = cipher_with(random_bytes(64));
    const NameCipher cipher = std::move(made);
    const ByteVector aad = random_bytes(16);
    const ByteVector plain = random_bytes(64);
    const ByteVector reference = sealed(cipher, aad, plain);
    std::atomic<int> failures = 0;
    const auto work = [&] {
        for (int i = 0; i < 1000; ++i) {
            ByteVector out(reference.size());
            ByteVector opened(plain.size());
            if (!cipher.seal(aad, plain, out) || out != reference) ++failures;
            if (!cipher.open(aad, reference, opened) || opened != plain) ++failures;
        }
    };
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) threads.emplace_back(work);
    threads.clear();
    CHECK(failures == 0);
}

}  // namespace extencfs::crypto
