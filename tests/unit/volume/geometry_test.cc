// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/geometry.h"

#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {

TEST_CASE("fragments tile the plaintext and the lower file, and none crosses a page",
          "[geometry]") {
    std::uint64_t plain_off = 0;
    std::uint64_t cipher_off = kFileHeaderSize;
    bool tiles = true;
    bool within_pages = true;
    bool sized = true;
    for (std::uint64_t number = 0; number < 200'000; ++number) {
        const Fragment piece = fragment(number);
        tiles &= piece.number == number && piece.plain_off == plain_off &&
                 piece.cipher_off == cipher_off;
        within_pages &= piece.cipher_off / kLowerPageSize ==
                        (piece.cipher_off + piece.cipher_size - 1) / kLowerPageSize;
        sized &= piece.plain_size >= 32 && piece.plain_size <= 4064 && piece.plain_size % 32 == 0 &&
                 piece.cipher_size == piece.plain_size + kFragmentOverhead;
        plain_off += piece.plain_size;
        cipher_off += piece.cipher_size;
    }
    CHECK(tiles);
    CHECK(within_pages);
    CHECK(sized);
}

TEST_CASE("64 blocks fill 65 pages", "[geometry]") {
    CHECK(fragment(128).cipher_off - fragment(0).cipher_off == 65 * kLowerPageSize);
    CHECK(data_end(64 * kBlockSize) == kFileHeaderSize + 64 * kCipherBlockSize);
}

TEST_CASE("each plaintext byte lies in the fragment that fragment_of names", "[geometry]") {
    bool right = true;
    for (std::uint64_t number = 0; number < 1000; ++number) {
        const Fragment piece = fragment(number);
        right &= fragment_of(piece.plain_off) == number;
        right &= fragment_of(piece.plain_off + piece.plain_size - 1) == number;
        right &= fragment_count(piece.plain_off + 1) == number + 1;
        right &= fragment_count(piece.plain_off + piece.plain_size) == number + 1;
        right &= data_end(piece.plain_off + 1) == piece.cipher_off + piece.cipher_size;
    }
    CHECK(right);
    CHECK(fragment_count(0) == 0);
    CHECK(data_end(0) == kFileHeaderSize);
}

TEST_CASE("the worked sizes of FORMAT.md", "[geometry]") {
    struct Row {
        std::uint64_t size, hint, end;
    };
    for (const Row row : {Row{0, 64, 64}, Row{1, 4097, 4096}, Row{4000, 8096, 4096},
                          Row{4001, 12193, 4224}, Row{4095, 12287, 4224}, Row{4096, 8192, 4224},
                          Row{4097, 8193, 8192}, Row{1048576, 1069056, 1065024}}) {
        CAPTURE(row.size);
        CHECK(hint_of_size(row.size) == row.hint);
        CHECK(data_end(row.size) == row.end);
    }
}

TEST_CASE("the size hint tells the size", "[geometry][hint]") {
    const auto round_trips = [](std::uint64_t size) {
        const std::uint64_t hint = hint_of_size(size);
        return size_of_hint(hint) == size && hint >= data_end(size) &&
               hint < data_end(size) + 2 * kLowerPageSize;
    };
    bool all = true;
    for (std::uint64_t size = 0; size < 1'000'000; ++size) all &= round_trips(size);
    CHECK(all);
    std::mt19937_64 random(7);
    for (int i = 0; i < 200'000; ++i) all &= round_trips((random() >> 2) >> (random() % 60));
    CHECK(all);
    CHECK(round_trips(kMaxFileSize));
    CHECK(hint_of_size(kMaxFileSize) < std::uint64_t{1} << 63);
}

TEST_CASE("a lower size that no file has is told", "[geometry][hint]") {
    std::uint64_t none = 0;
    bool consistent = true;
    for (std::uint64_t st_size = 0; st_size < 300'000; ++st_size) {
        const std::uint64_t size = size_of_hint(st_size);
        if (size == kNoSize) {
            ++none;
        } else {
            consistent &= hint_of_size(size) == st_size;
        }
    }
    CHECK(consistent);
    CHECK(none > 4000);
    CHECK(size_of_hint(0) == kNoSize);
    CHECK(size_of_hint(63) == kNoSize);
    CHECK(size_of_hint(65) == kNoSize);
    CHECK(size_of_hint(~std::uint64_t{0}) == kNoSize);
    CHECK(size_of_hint(std::uint64_t{1} << 63) == kNoSize);
}

}  // namespace extencfs::volume
