// SPDX-License-Identifier: Apache-2.0
// Rows of FORMAT.md "Threats" that concern a whole lower file: header, fragments and end together,
// read as FORMAT.md says. Rows that the format does not detect are tested too: what is promised is
// exactly what happens.
#include <optional>

#include "encfs/volume/content_codec.h"
#include "encfs/volume/file_header.h"
#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

const ByteArray<32> kHeaderKey = fixed<32>(1);
const ByteArray<32> kContentRoot = fixed<32>(2);

FileHeader header_of(std::uint64_t size, std::uint32_t file = 1) {
    return FileHeader{.cipher = crypto::AeadKind::kAes256Gcm,
                      .key_generation = 1,
                      .size = size,
                      .id = fixed<16>(file)};
}

// A whole lower file.
ByteVector lower_file(const FileHeader& header, Bytes plain, std::uint32_t epoch = 0) {
    ByteVector lower(data_end(header.size));
    encode_header(header, kHeaderKey, MutBytesN<kFileHeaderSize>(lower.data(), kFileHeaderSize));
    const std::uint64_t count = fragment_count(header.size);
    ByteVector padded(plain.begin(), plain.end());
    padded.resize(fragment(count).plain_off);
    const auto codec = ContentCodec::make(kContentRoot, header.cipher, header.id, header.cut);
    REQUIRE(
        codec.seal(0, count, padded, header.size, epoch, MutBytes(lower).subspan(kFileHeaderSize)));
    return lower;
}

// The contents with every unreadable fragment left out; nothing if the header is refused.
struct Read {
    ByteVector plain;         // zeros where unreadable
    std::size_t damaged = 0;  // fragments
};
std::optional<Read> read_file(Bytes lower) {
    if (lower.size() < kFileHeaderSize) return std::nullopt;
    const auto header = decode_header(lower.first<kFileHeaderSize>(), kHeaderKey);
    if (!header) return std::nullopt;
    const std::uint64_t count = fragment_count(header->size);
    const Bytes cipher = lower.subspan(kFileHeaderSize);
    const std::size_t most = data_end(header->size) - kFileHeaderSize;
    Read out{.plain = ByteVector(fragment(count).plain_off)};
    std::vector<OpenedFragment> states(count);
    const auto codec = ContentCodec::make(kContentRoot, header->cipher, header->id, header->cut);
    REQUIRE(codec.open(0, count, cipher.first(std::min(cipher.size(), most)), header->epoch,
                       header->sparse, out.plain, states));
    for (const OpenedFragment& state : states) {
        out.damaged += state.state != FragmentState::kGood && state.state != FragmentState::kHole;
    }
    out.plain.resize(header->size);
    return out;
}

constexpr std::uint64_t kSize = 20'000;
constexpr std::size_t kCount = 9;

}  // namespace

TEST_CASE("a whole file comes back", "[threat]") {
    const ByteVector plain = pattern(kSize, 1);
    const auto read = read_file(lower_file(header_of(kSize), plain));
    REQUIRE(read);
    CHECK(read->damaged == 0);
    CHECK(read->plain == plain);
    CHECK(fragment_count(kSize) == kCount);
    CHECK(read_file(lower_file(header_of(0), {}))->plain.empty());
}

TEST_CASE("T2: a file without its header is not read", "[threat]") {
    const ByteVector lower = lower_file(header_of(kSize), pattern(kSize, 1));
    for (std::size_t size = 0; size < kFileHeaderSize; ++size) {
        CHECK_FALSE(read_file(Bytes(lower).first(size)));
    }
}

TEST_CASE("T5: another file's header opens nothing", "[threat]") {
    const ByteVector a = lower_file(header_of(kSize, 1), pattern(kSize, 1));
    ByteVector b = lower_file(header_of(kSize, 2), pattern(kSize, 2));
    std::copy_n(a.begin(), kFileHeaderSize, b.begin());
    CHECK(read_file(b)->damaged == kCount);
    // An empty file's header on a full file: that file is empty, as its own is; the names were
    // swapped (T18). Its length never changes which bytes are shown.
    const ByteVector empty = lower_file(header_of(0, 3), {});
    std::copy_n(empty.begin(), kFileHeaderSize, b.begin());
    CHECK(read_file(b)->plain.empty());
}

TEST_CASE("T6: a dense file cut at every length misses fragments and keeps its size", "[threat]") {
    const ByteVector plain = pattern(kSize, 1);
    const ByteVector lower = lower_file(header_of(kSize), plain);
    for (std::size_t size = kFileHeaderSize; size < lower.size(); ++size) {
        const auto read = read_file(Bytes(lower).first(size));
        if (!read || read->damaged == 0 || read->plain.size() != kSize) {
            CAPTURE(size);
            CHECK(false);
        }
    }
}

TEST_CASE("T7: an old tail beyond the length is never read", "[threat]") {
    const ByteVector plain = pattern(kSize, 1);
    const ByteVector longer = lower_file(header_of(kSize), plain);
    // The file was truncated to 5,000 bytes; somebody puts the old tail back.
    const Bytes kept = Bytes(plain).first(5'000);
    const ByteVector shorter = lower_file(header_of(5'000), kept);
    ByteVector bad = shorter;
    bad.insert(bad.end(), longer.begin() + static_cast<std::ptrdiff_t>(shorter.size()),
               longer.end());
    const auto read = read_file(bad);
    REQUIRE(read);
    CHECK(read->damaged == 0);
    CHECK(std::ranges::equal(read->plain, kept));
    // After truncation to nothing the key is another: an old tail does not open under a new length.
    FileHeader again = header_of(kSize);
    again.cut = 1;
    ByteVector later = lower_file(again, plain);
    std::copy(longer.begin() + kFileHeaderSize, longer.end(), later.begin() + kFileHeaderSize);
    CHECK(read_file(later)->damaged == kCount);
}

TEST_CASE("T8: an old header over data two epochs newer is refused", "[threat]") {
    const ByteVector plain = pattern(kSize, 1);
    FileHeader now = header_of(kSize);
    now.epoch = 7;
    ByteVector lower = lower_file(now, plain, 7);
    for (std::uint32_t epoch = 0; epoch <= 7; ++epoch) {
        FileHeader old = now;
        old.epoch = epoch;
        old.size = 9'000;
        encode_header(old, kHeaderKey, MutBytesN<kFileHeaderSize>(lower.data(), kFileHeaderSize));
        const auto read = read_file(lower);
        REQUIRE(read);
        CAPTURE(epoch);
        // One epoch back cannot be told from a crash: declared in T8.
        CHECK((read->damaged > 0) == (epoch + 1 < 7));
    }
}

TEST_CASE("T16: a fragment's own older version is not detected", "[threat]") {
    const ByteVector before = pattern(kSize, 1);
    const ByteVector after = pattern(kSize, 2);
    const ByteVector old = lower_file(header_of(kSize), before);
    ByteVector lower = lower_file(header_of(kSize), after);
    const Fragment piece = fragment(3);
    std::copy_n(old.begin() + static_cast<std::ptrdiff_t>(piece.cipher_off), piece.cipher_size,
                lower.begin() + static_cast<std::ptrdiff_t>(piece.cipher_off));
    const auto read = read_file(lower);
    REQUIRE(read);
    CHECK(read->damaged == 0);
    ByteVector mixed = after;
    std::copy_n(before.begin() + static_cast<std::ptrdiff_t>(piece.plain_off), piece.plain_size,
                mixed.begin() + static_cast<std::ptrdiff_t>(piece.plain_off));
    CHECK(read->plain == mixed);
}

TEST_CASE("T24: in a sparse file zeroed and cut data reads as zeros, other damage does not",
          "[threat]") {
    const ByteVector plain = pattern(kSize, 1);
    FileHeader header = header_of(kSize);
    header.sparse = true;
    const ByteVector good = lower_file(header, plain);
    ByteVector zeroed = good;
    const Fragment piece = fragment(3);
    std::fill_n(zeroed.begin() + static_cast<std::ptrdiff_t>(piece.cipher_off), piece.cipher_size,
                std::byte{0});
    CHECK(read_file(zeroed)->damaged == 0);
    CHECK(read_file(zeroed)->plain[piece.plain_off] == std::byte{0});
    CHECK(read_file(Bytes(good).first(piece.cipher_off))->damaged == 0);
    ByteVector flipped = good;
    flip(flipped, 8 * (piece.cipher_off + 50));
    CHECK(read_file(flipped)->damaged == 1);
}

}  // namespace extencfs::volume
