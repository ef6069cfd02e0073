// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/file_header.h"

#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

const ByteArray<32> kKey = fixed<32>(1);

FileHeader some_header() {
    return FileHeader{.cipher = crypto::AeadKind::kAes256Gcm,
                      .sparse = true,
                      .key_generation = 3,
                      .epoch = 77,
                      .size = 123'456'789,
                      .id = fixed<16>(2),
                      .cut = 5};
}

ByteArray<kFileHeaderSize> encoded(const FileHeader& header) {
    ByteArray<kFileHeaderSize> out;
    encode_header(header, kKey, out);
    return out;
}

}  // namespace

TEST_CASE("a header comes back as it was", "[header]") {
    const FileHeader in = some_header();
    const auto out = decode_header(encoded(in), kKey);
    REQUIRE(out);
    CHECK(out->cipher == in.cipher);
    CHECK(out->sparse == in.sparse);
    CHECK(out->key_generation == in.key_generation);
    CHECK(out->epoch == in.epoch);
    CHECK(out->size == in.size);
    CHECK(out->id == in.id);
    CHECK(out->cut == in.cut);
    CHECK(peek_generation(encoded(in)) == 3u);
}

TEST_CASE("T1: every flipped bit of a header refuses", "[header][threat]") {
    const auto good = encoded(some_header());
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
        auto bad = good;
        flip(bad, bit);
        CAPTURE(bit);
        const std::string kind = kind_of(decode_header(bad, kKey));
        CHECK(kind == (bit / 8 == 4 ? "unsupported" : "damaged"));
    }
}

TEST_CASE("T2: a zeroed header refuses", "[header][threat]") {
    CHECK(kind_of(decode_header(ByteArray<kFileHeaderSize>{}, kKey)) == "damaged");
    for (std::size_t from = 0; from < kFileHeaderSize; from += 16) {
        auto bad = encoded(some_header());
        std::fill_n(bad.begin() + static_cast<std::ptrdiff_t>(from), 16, std::byte{0});
        CHECK(kind_of(decode_header(bad, kKey)) == "damaged");
    }
}

TEST_CASE("a header of another key refuses", "[header]") {
    CHECK(kind_of(decode_header(encoded(some_header()), fixed<32>(9))) == "damaged");
}

TEST_CASE("a header with parts of another refuses", "[header][threat]") {
    FileHeader other = some_header();
    other.size = 1;
    other.id = fixed<16>(8);
    other.epoch = 78;
    other.cut = 6;
    const auto a = encoded(some_header());
    const auto b = encoded(other);
    for (std::size_t cut = 1; cut < kFileHeaderSize; ++cut) {
        auto mixed = a;
        std::copy(b.begin() + static_cast<std::ptrdiff_t>(cut), b.end(),
                  mixed.begin() + static_cast<std::ptrdiff_t>(cut));
        if (mixed == a || mixed == b) continue;
        CAPTURE(cut);
        CHECK(kind_of(decode_header(mixed, kKey)) == "damaged");
    }
}

}  // namespace extencfs::volume
