// SPDX-License-Identifier: Apache-2.0
// Source: the vectors of encfs/legacy/FORMAT.md.
#include <thread>
#include <vector>

#include "tests/unit/legacy/keys.h"

namespace extencfs::legacy {

namespace {

std::string stream_encoded(const LegacyKey& key, ByteVector data, std::uint64_t seed) {
    const ByteVector plain = data;
    REQUIRE(key.encode_stream(data, seed));
    ByteVector back = data;
    REQUIRE(key.decode_stream(back, seed));
    CHECK(back == plain);
    return hex(data);
}

}  // namespace

TEST_CASE("MACs of EncFS match the vectors") {
    const auto key = aes_key();
    const Bytes hello = bytes_of("hello");
    CHECK(key->mac64(hello).value() == 0x75a8b272517ef657);
    CHECK(key->mac64(hello, 0).value() == 0xd7cf2d1f553c2576);
    CHECK(key->mac64(hello, 1).value() == 0x9e446a9106d6bbf7);
    CHECK(crypto::fold32(0x75a8b272517ef657) == 0x24d64425);
    CHECK(crypto::fold16(0x75a8b272517ef657) == 0x60f3);
}

TEST_CASE("stream coding of EncFS matches the vectors") {
    const auto key = aes_key();
    const ByteVector letter(1, std::byte{'a'});
    CHECK(stream_encoded(*key, letter, 0) == "ad");
    CHECK(stream_encoded(*key, counted(8), 5) == "c33213cd4737fa5e");
    CHECK(stream_encoded(*key, counted(8), ~std::uint64_t{0}) == "ce5efb64266bf215");
    CHECK(stream_encoded(*key, counted(100), 7) ==
          "61e2ff9cd94d5a17262da418dfc90ff6783b6379f29206f2bbe6c8fdd066db9ba0c2443e8777bb50d8ae8e0c"
          "8ddbbe22"
          "c14a7e939389df5c7c86f2ec3aa44e324241644d8373808c62249597afef5aa409d4bcba38010ad74a81efac"
          "01d60eb4"
          "8740a31d");
    CHECK(stream_encoded(*aes_key(2), counted(100), 7) ==
          "4e8e4a2ffd14812f067347d4fc37b78bcdabb47a986c760e53771a64662e9ec8968f61a9dc97c1b344a4bb31"
          "489cff2f"
          "5aa7c444f68bd780d87ac7d516deca8f9e353ece0f5e71c43ba6829baa152a62a2ea8ceeac9535773f1d4980"
          "f691bc55"
          "aa1ac75a");
    CHECK(stream_encoded(*blowfish_key(), counted(100), 7) ==
          "fdfe9a84c066f5149b6e0b9ec776347379d8297c5ca6a617b875881508ddb96af318c83ed720c24fd441741f"
          "fa276f7c"
          "5d5b20685555abd5c9fd2637fa24b3cb7f2c69eb1c72154c01012c28e0582dcbfdcb82b2e381c9d73233c552"
          "24fe4b2e"
          "6554cbf6");
}

TEST_CASE("block coding of EncFS matches the vectors") {
    const auto key = aes_key();
    ByteVector zeros(32);
    REQUIRE(key->encode_blocks(zeros, 3));
    CHECK(hex(zeros) == "e36f4d5852e69a8680d502bb5355f7ed6d49ffb5f01392b92c209d68801386d3");
    REQUIRE(key->decode_blocks(zeros, 3));
    CHECK(zeros == ByteVector(32));
    ByteVector odd(17);
    CHECK(key->encode_blocks(odd, 3).error() == crypto::Error::kBadParameter);
    CHECK(key->encode_stream(MutBytes(), 3).error() == crypto::Error::kBadParameter);
}

TEST_CASE("every cipher, key size and major of EncFS codes there and back") {
    for (const auto cipher :
         {LegacyCipher::kAes, LegacyCipher::kBlowfish, LegacyCipher::kCamellia}) {
        for (std::uint64_t bits = 128; bits <= 256; bits += 32) {
            const std::size_t size = crypto::legacy_key_size(cipher, bits);
            for (const int major : {1, 2, 3}) {
                const auto key = key_of(cipher, major, counted(size),
                                        counted(crypto::legacy_block_size(cipher)));
                stream_encoded(*key, counted(77), 0x0123456789abcdef);
                ByteVector blocks = counted(64);
                REQUIRE(key->encode_blocks(blocks, 9));
                CHECK(blocks != counted(64));
                REQUIRE(key->decode_blocks(blocks, 9));
                CHECK(blocks == counted(64));
            }
        }
    }
}

TEST_CASE("key sizes are taken to the nearest that the cipher has") {
    CHECK(crypto::legacy_key_size(LegacyCipher::kAes, 0) == 16);
    CHECK(crypto::legacy_key_size(LegacyCipher::kAes, 192) == 24);
    CHECK(crypto::legacy_key_size(LegacyCipher::kAes, 200) == 24);
    CHECK(crypto::legacy_key_size(LegacyCipher::kAes, 4096) == 32);
    CHECK(crypto::legacy_key_size(LegacyCipher::kBlowfish, 160) == 20);
    CHECK(crypto::legacy_key_size(LegacyCipher::kBlowfish, 170) == 20);
}

TEST_CASE("keys of EncFS come from passwords as in the vectors") {
    ByteVector key(48);
    REQUIRE(crypto::legacy_bytes_to_key({LegacyCipher::kAes, 3, 32}, bytes_of("test"), key));
    CHECK(hex(key) ==
          "807666a31d693194c8a3c08249ab6d3b9467523e3aff9fd6363de5e096ef333f"
          "72a406a501e24679d2d97fd7c3a34257");
    REQUIRE(crypto::legacy_pbkdf2(bytes_of("test"), bytes_of("0123456789abcdefghij"), 1000, key));
    CHECK(hex(key) ==
          "8482a35837409ce0fef3b541f4b3d4423fa8870319de7bd231fefd9450ac9e40"
          "4e727f7609135b884bede198e1e7034e");
    // The first release's Blowfish keys have 16 bytes, and zeros.
    ByteVector first(28);
    REQUIRE(crypto::legacy_bytes_to_key({LegacyCipher::kBlowfish, 1, 20}, bytes_of("test"), first));
    CHECK(hex(first) == "807666a31d693194c8a3c08249ab6d3b000000009467523e3aff9fd6");
    CHECK_FALSE(crypto::legacy_pbkdf2(Bytes(), bytes_of("salt"), 1, key));
    CHECK_FALSE(crypto::legacy_pbkdf2(bytes_of("test"), bytes_of("salt"), 0, key));
    CHECK_FALSE(crypto::legacy_bytes_to_key({}, Bytes(), key));
}

TEST_CASE("a legacy key wants its sizes right") {
    CHECK(LegacyKey::create({LegacyCipher::kAes, 3, 32}, counted(47)).error() ==
          crypto::Error::kBadParameter);
    CHECK(LegacyKey::create({LegacyCipher::kAes, 4, 32}, counted(48)).error() ==
          crypto::Error::kBadParameter);
    CHECK(LegacyKey::create({LegacyCipher::kAes, 3, 20}, counted(36)).error() ==
          crypto::Error::kBadParameter);
}

TEST_CASE("one legacy key serves threads in parallel") {
    const auto key = aes_key();
    std::vector<std::jthread> threads;
    std::atomic<int> wrong = 0;
    for (unsigned t = 0; t < 4; ++t) {
        threads.emplace_back([&, t] {
            for (unsigned i = 0; i < 200; ++i) {
                ByteVector data = counted(100, t);
                const bool done = key->encode_stream(data, i) && key->decode_stream(data, i);
                wrong += done && data == counted(100, t) ? 0 : 1;
            }
        });
    }
    threads.clear();
    CHECK(wrong == 0);
}

}  // namespace extencfs::legacy
