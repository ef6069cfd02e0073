// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/contents.h"

#include "tests/unit/legacy/keys.h"

namespace extencfs::legacy {

namespace {

constexpr std::uint64_t kIv = 0x0123456789abcdef;

ContentCodec codec(std::uint8_t mac, std::uint8_t random, bool holes = true,
                   MacPolicy policy = MacPolicy::kCheck) {
    return {aes_key(), ContentLayout{256, mac, random, true, holes, false}, policy};
}

ByteVector sealed(const ContentCodec& codec, std::uint64_t no, Bytes plain) {
    ByteVector out(plain.size() + codec.layout().overhead());
    REQUIRE(codec.encode_block(no, kIv, plain, out));
    return out;
}

BlockState state_of(const ContentCodec& codec, std::uint64_t no, Bytes lower) {
    ByteVector block(lower.begin(), lower.end());
    const auto state = codec.decode_block(no, kIv, block);
    REQUIRE(state.has_value());
    if (*state != BlockState::kGood) CHECK(block == ByteVector(block.size()));
    return *state;
}

}  // namespace

TEST_CASE("sizes of files in EncFS volumes are found in both directions") {
    for (const auto& layout :
         {ContentLayout{256, 8, 8, true, true, false}, ContentLayout{64, 0, 0, false, true, false},
          ContentLayout{512, 0, 5, true, false, false},
          ContentLayout{256, 8, 8, true, true, true}}) {
        for (std::uint64_t size = 1; size < 1100; ++size)
            REQUIRE(plain_size(layout, lower_size(layout, size)) == size);
        CHECK(plain_size(layout, 0) == 0);
    }
    const ContentLayout layout{256, 8, 8, true, true, false};
    CHECK(plain_size(layout, 8) == 0);
    CHECK(lower_size(layout, 0) == 8);
    CHECK_FALSE(plain_size(layout, 7).has_value());  // ends within the header
    CHECK(plain_size(layout, 8 + 256 + 16) == 240);  // a last block without data
    CHECK(lower_size(layout, 241) == 8 + 256 + 17);
}

TEST_CASE("blocks of EncFS's MACs notice what they can") {
    for (const std::uint8_t mac : {1, 4, 8}) {
        const auto with = codec(mac, 3);
        for (const std::size_t size :
             {std::size_t{1}, std::size_t{77}, with.layout().data_size()}) {
            ByteVector lower = sealed(with, 5, counted(size));
            CHECK(state_of(with, 5, lower) == BlockState::kGood);
            if (mac == 8) {
                CHECK(state_of(with, 6, lower) == BlockState::kDamaged);
                lower.back() ^= std::byte{1};
                CHECK(state_of(with, 5, lower) == BlockState::kDamaged);
                CHECK(state_of(codec(mac, 3, true, MacPolicy::kIgnore), 5, lower) ==
                      BlockState::kGood);
            }
        }
    }
}

TEST_CASE("blocks of zero bytes below are holes where the volume has them") {
    const ByteVector zeros(256);
    CHECK(state_of(codec(8, 8), 3, zeros) == BlockState::kHole);
    CHECK(state_of(codec(8, 8, false), 3, zeros) == BlockState::kDamaged);
    CHECK(state_of(codec(0, 0, false), 3, zeros) == BlockState::kGood);
    // Not at a file's end: a short block is always decoded.
    CHECK(state_of(codec(8, 8), 3, Bytes(zeros).first(100)) == BlockState::kDamaged);
}

TEST_CASE("blocks of EncFS have their sizes checked") {
    const auto with = codec(8, 8);
    ByteVector out(256), plain(240);
    CHECK_FALSE(with.encode_block(0, kIv, Bytes(), MutBytes(out).first(16)));
    CHECK_FALSE(with.encode_block(0, kIv, counted(241), out));
    CHECK_FALSE(with.encode_block(0, kIv, plain, MutBytes(out).first(255)));
    CHECK_FALSE(with.decode_block(0, kIv, MutBytes(out).first(16)).has_value());
    out.push_back({});
    CHECK_FALSE(with.decode_block(0, kIv, out).has_value());
}

}  // namespace extencfs::legacy
