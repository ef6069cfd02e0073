// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/dir_file.h"

#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

const ByteArray<32> kMacKey = fixed<32>(1);
const ByteArray<32> kBindKey = fixed<32>(2);

ByteArray<kDirFileSize> encoded(const DirFile& dir) {
    ByteArray<kDirFileSize> out;
    encode_dir_file(dir, kMacKey, out);
    return out;
}

DirFile some_dir() {
    return DirFile{.key_generation = 1,
                   .next_generation = 2,
                   .id = fixed<16>(3),
                   .here = bind_place(kBindKey, fixed<16>(4), "entry"),
                   .next = fixed<16>(5)};
}

}  // namespace

TEST_CASE("a directory id file comes back as it was", "[directory]") {
    const DirFile in = some_dir();
    const auto out = decode_dir_file(encoded(in), kMacKey);
    REQUIRE(out);
    CHECK(out->key_generation == in.key_generation);
    CHECK(out->next_generation == in.next_generation);
    CHECK(out->id == in.id);
    CHECK(out->here == in.here);
    CHECK(out->next == in.next);
    CHECK(peek_dir_generation(encoded(in)) == 1u);
}

TEST_CASE("T1: every flipped bit of a directory id file refuses", "[directory][threat]") {
    const auto good = encoded(some_dir());
    for (std::size_t bit = 0; bit < 8 * good.size(); ++bit) {
        auto bad = good;
        flip(bad, bit);
        CAPTURE(bit);
        CHECK(kind_of(decode_dir_file(bad, kMacKey)) == (bit / 8 == 4 ? "unsupported" : "damaged"));
    }
    CHECK(kind_of(decode_dir_file(ByteArray<kDirFileSize>{}, kMacKey)) == "damaged");
    CHECK(kind_of(decode_dir_file(good, fixed<32>(9))) == "damaged");
}

TEST_CASE("T11: a binding holds at one place only", "[directory][threat]") {
    const Binding here = bind_place(kBindKey, fixed<16>(4), "entry");
    CHECK(bind_place(kBindKey, fixed<16>(4), "entry") == here);
    CHECK(bind_place(kBindKey, fixed<16>(6), "entry") != here);
    CHECK(bind_place(kBindKey, fixed<16>(4), "entry2") != here);
    CHECK(bind_place(kBindKey, fixed<16>(4), "") != here);
    CHECK(bind_place(kMacKey, fixed<16>(4), "entry") != here);
}

}  // namespace extencfs::volume
