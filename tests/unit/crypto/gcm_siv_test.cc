// SPDX-License-Identifier: Apache-2.0
#include "crypto/gcm_siv.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <string>

#include "crypto/encoding.h"
#include "tests/unit/crypto/support.h"

using namespace extencfs;
using namespace extencfs::crypto;

namespace {

struct Vector {
    const char* key;
    const char* nonce;
    const char* aad;
    const char* plain;
    const char* sealed;  // and the tag behind it
};

ByteVector hex(const std::string& text) {
    ByteVector out;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2)
        out.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
    return out;
}

// RFC 8452, C.1 and C.2.
const Vector kVectors[] = {
    {"01000000000000000000000000000000", "030000000000000000000000", "", "",
     "dc20e2d83f25705bb49e439eca56de25"},
    {"01000000000000000000000000000000", "030000000000000000000000", "", "0100000000000000",
     "b5d839330ac7b786578782fff6013b815b287c22493a364c"},
    {"0100000000000000000000000000000000000000000000000000000000000000", "030000000000000000000000",
     "", "", "07f5f4169bbf55a8400cd47ea6fd400f"},
    {"0100000000000000000000000000000000000000000000000000000000000000", "030000000000000000000000",
     "", "0100000000000000", "c2ef328e5c71c83b843122130f7364b761e0b97427e3df28"},
};

}  // namespace

TEST_CASE("AES-GCM-SIV gives the answers of RFC 8452") {
    for (const Vector& vector : kVectors) {
        INFO(vector.key << " " << vector.plain);
        const auto key = GcmSivKey::create(hex(vector.key));
        REQUIRE(key);
        const ByteVector nonce = hex(vector.nonce), aad = hex(vector.aad);
        const ByteVector plain = hex(vector.plain);
        ByteVector data = plain;
        ByteArray<16> tag;
        REQUIRE(key->seal(Bytes(nonce).first<12>(), aad, data, tag));
        CHECK(hex_encode(data) + hex_encode(tag) == vector.sealed);
        REQUIRE(key->open(Bytes(nonce).first<12>(), aad, data, tag));
        CHECK(data == plain);
    }
}

TEST_CASE("AES-GCM-SIV notices any change, and gives nothing away then") {
    for (const std::size_t key_size : {16U, 32U}) {
        for (const std::size_t size : {0U, 1U, 15U, 16U, 17U, 1023U, 1024U, 4080U, 5000U}) {
            INFO(key_size << " " << size);
            const auto key = GcmSivKey::create(ByteVector(key_size, std::byte{7}));
            REQUIRE(key);
            const ByteArray<12> nonce{std::byte{1}};
            const ByteVector plain(size, std::byte{0x5a}), aad(20, std::byte{9});
            ByteVector sealed = plain;
            ByteArray<16> tag;
            REQUIRE(key->seal(nonce, aad, sealed, tag));
            ByteVector opened = sealed;
            REQUIRE(key->open(nonce, aad, opened, tag));
            CHECK(opened == plain);
            const auto refused = [&](ByteVector data, ByteArray<12> n, ByteVector a,
                                     ByteArray<16> t) {
                const auto result = key->open(n, a, data, t);
                return !result && result.error() == Error::kAuthentication &&
                       std::ranges::all_of(data, [](std::byte b) { return b == std::byte{0}; });
            };
            ByteVector other = sealed;
            if (size > 0) {
                other[size / 2] ^= std::byte{1};
                CHECK(refused(other, nonce, aad, tag));
            }
            auto other_tag = tag;
            other_tag[15] ^= std::byte{0x80};
            CHECK(refused(sealed, nonce, aad, other_tag));
            CHECK(refused(sealed, {std::byte{2}}, aad, tag));
            CHECK(refused(sealed, nonce, ByteVector(19, std::byte{9}), tag));
        }
    }
    CHECK_FALSE(GcmSivKey::create(ByteVector(24)));
}
