// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/content_codec.h"

#include <memory>
#include <set>

#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

using crypto::AeadKind;
using enum FragmentState;

// One file's fragments [0, count) as an attacker finds them.
struct Sealed {
    std::shared_ptr<const ContentCodec> codec;  // shared, so that files can be copied and spoilt
    std::uint64_t first;
    std::uint64_t count;
    ByteVector plain;
    ByteVector lower;

    std::size_t at(std::uint64_t number) const {
        return static_cast<std::size_t>(fragment(number).cipher_off - fragment(first).cipher_off);
    }
    MutBytes bytes_of_fragment(std::uint64_t number) {
        return MutBytes(lower).subspan(at(number), fragment(number).cipher_size);
    }
};

std::size_t plain_run(std::uint64_t first, std::uint64_t n) {
    return static_cast<std::size_t>(fragment(first + n).plain_off - fragment(first).plain_off);
}
std::size_t lower_run(std::uint64_t first, std::uint64_t n) {
    return static_cast<std::size_t>(fragment(first + n).cipher_off - fragment(first).cipher_off);
}

Sealed seal_run(AeadKind cipher, std::uint64_t first, std::uint64_t count, std::uint32_t file = 1,
                std::uint32_t cut = 0, std::uint32_t epoch = 0) {
    Sealed out{.codec = std::make_shared<const ContentCodec>(
                   ContentCodec::make(fixed<32>(1), cipher, fixed<16>(file), cut)),
               .first = first,
               .count = count,
               .plain = pattern(plain_run(first, count), file + 100),
               .lower = ByteVector(lower_run(first, count))};
    REQUIRE(out.codec->seal(first, count, out.plain, fragment(first + count).plain_off, epoch,
                            out.lower));
    return out;
}

struct Opened {
    ByteVector plain;
    std::vector<OpenedFragment> states;
};

Opened open_run(const Sealed& file, Bytes lower, bool sparse = false, std::uint32_t epoch = 0) {
    Opened out{.plain = ByteVector(file.plain.size(), std::byte{0xee}),
               .states = std::vector<OpenedFragment>(file.count)};
    REQUIRE(file.codec->open(file.first, file.count, lower, epoch, sparse, out.plain, out.states));
    return out;
}

// Every fragment is as it was, but for `number`, which has `state` and reads as zeros.
void check_only(const Sealed& file, const Opened& opened, std::uint64_t number,
                FragmentState state) {
    for (std::uint64_t i = 0; i < file.count; ++i) {
        const Fragment piece = fragment(file.first + i);
        const auto off = piece.plain_off - fragment(file.first).plain_off;
        const Bytes got = Bytes(opened.plain).subspan(off, piece.plain_size);
        const Bytes was = Bytes(file.plain).subspan(off, piece.plain_size);
        const bool hit = piece.number == number;
        const bool right =
            hit ? opened.states[i].state == state && opened.states[i].used == 0 &&
                      std::ranges::all_of(got, [](std::byte b) { return b == std::byte{0}; })
                : opened.states[i].state == kGood && opened.states[i].used == piece.plain_size &&
                      std::ranges::equal(got, was);
        if (!right) {
            CAPTURE(i, number);
            CHECK(right);
        }
    }
}

constexpr std::uint64_t kNone = ~std::uint64_t{0};

}  // namespace

TEST_CASE("runs of fragments come back, in any grouping", "[content]") {
    const auto cipher = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    Sealed file = seal_run(cipher, 0, 300);
    check_only(file, open_run(file, file.lower), kNone, kGood);
    for (const auto& [first, n] : {std::pair<std::uint64_t, std::uint64_t>{0, 1},
                                   {5, 7},
                                   {126, 4},
                                   {127, 1},
                                   {128, 1},
                                   {255, 3},
                                   {299, 1}}) {
        CAPTURE(first, n);
        ByteVector plain(plain_run(first, n));
        std::vector<OpenedFragment> states(n);
        REQUIRE(file.codec->open(first, n,
                                 Bytes(file.lower).subspan(file.at(first), lower_run(first, n)), 0,
                                 false, plain, states));
        CHECK(std::ranges::equal(plain,
                                 Bytes(file.plain).subspan(plain_run(0, first), plain.size())));
    }
}

TEST_CASE("used follows from the file's size", "[content]") {
    const ContentCodec codec =
        ContentCodec::make(fixed<32>(1), AeadKind::kAes256Gcm, fixed<16>(1), 0);
    for (const std::uint64_t size : {0ul, 1ul, 3999ul, 4000ul, 4001ul, 4096ul, 5000ul, 8192ul}) {
        CAPTURE(size);
        ByteVector plain(8192);
        const ByteVector text = pattern(size, 3);
        std::copy(text.begin(), text.end(), plain.begin());
        ByteVector lower(lower_run(0, 4));
        REQUIRE(codec.seal(0, 4, plain, size, 0, lower));
        std::vector<OpenedFragment> states(4);
        ByteVector back(8192);
        REQUIRE(codec.open(0, 4, lower, 0, false, back, states));
        CHECK(back == plain);
        std::uint64_t used = 0;
        for (const OpenedFragment& state : states) used += state.used;
        CHECK(used == size);
    }
}

TEST_CASE("seal refuses what would seal bytes beyond the end, or a wrong size", "[content]") {
    const ContentCodec codec =
        ContentCodec::make(fixed<32>(1), AeadKind::kAes256Gcm, fixed<16>(1), 0);
    ByteVector plain(4096, std::byte{1});
    ByteVector lower(lower_run(0, 2));
    CHECK(codec.seal(0, 2, plain, 4096, 0, lower));
    CHECK(kind_of(codec.seal(0, 2, plain, 4095, 0, lower)) == "internal");
    CHECK(kind_of(codec.seal(0, 2, plain, 10, 0, lower)) == "internal");
    CHECK(kind_of(codec.seal(0, 2, plain, 4096, kMaxEpoch + 1, lower)) == "internal");
    CHECK(kind_of(codec.seal(0, 1, plain, 4096, 0, lower)) == "internal");
    CHECK(kind_of(codec.seal(kNone - 5, 2, plain, 4096, 0, lower)) == "internal");
    std::vector<OpenedFragment> states(2);
    CHECK(kind_of(codec.open(kNone - 5, 2, lower, 0, false, plain, states)) == "internal");
}

TEST_CASE("no nonce is ever used twice, also within one call", "[content][nonce]") {
    const auto cipher = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    std::set<ByteVector> nonces;
    for (int round = 0; round < 20; ++round) {
        Sealed file = seal_run(cipher, 0, 256);
        for (std::uint64_t i = 0; i < file.count; ++i) {
            const Bytes nonce = file.bytes_of_fragment(i).first(kFragmentNonceSize);
            nonces.emplace(nonce.begin(), nonce.end());
        }
    }
    CHECK(nonces.size() == 20 * 256);
}

TEST_CASE("T1: every flipped bit of a fragment is damage, of that fragment only",
          "[content][threat]") {
    const auto cipher = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    // Around a group border: fragments of 32, 4064 and 32 bytes, and of the next group.
    Sealed file = seal_run(cipher, 124, 5);
    for (const std::uint64_t number : {124ul, 127ul}) {
        for (std::size_t bit = 0; bit < 8 * fragment(number).cipher_size; ++bit) {
            const std::size_t where = 8 * file.at(number) + bit;
            flip(file.lower, where);
            check_only(file, open_run(file, file.lower), number, kDamaged);
            flip(file.lower, where);
        }
    }
    for (std::size_t bit = 0; bit < 8 * fragment(126).cipher_size; bit += 61) {
        const std::size_t where = 8 * file.at(126) + bit;
        flip(file.lower, where);
        check_only(file, open_run(file, file.lower), 126, kDamaged);
        flip(file.lower, where);
    }
    check_only(file, open_run(file, file.lower), kNone, kGood);
}

TEST_CASE("T3: a zeroed fragment is damage in a dense file, a hole in a sparse one",
          "[content][threat]") {
    Sealed file = seal_run(AeadKind::kAes256Gcm, 0, 8);
    for (std::uint64_t number = 0; number < file.count; ++number) {
        Sealed bad = seal_run(AeadKind::kAes256Gcm, 0, 8);
        std::ranges::fill(bad.bytes_of_fragment(number), std::byte{0});
        check_only(bad, open_run(bad, bad.lower, false), number, kZero);
        check_only(bad, open_run(bad, bad.lower, true), number, kHole);
        // Nearly zero is never a hole.
        bad.bytes_of_fragment(number).back() = std::byte{1};
        check_only(bad, open_run(bad, bad.lower, true), number, kDamaged);
    }
}

TEST_CASE("T4: fragments swapped or copied within a file are damage", "[content][threat]") {
    const auto cipher = GENERATE(AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305);
    // 62 and 62 + 128 have equal sizes in different groups; 0, 128 likewise.
    const Sealed good = seal_run(cipher, 0, 260);
    for (const auto& [a, b] : {std::pair<std::uint64_t, std::uint64_t>{0, 128},
                               {1, 129},
                               {124, 252},
                               {124, 127},
                               {127, 124},
                               {128, 0}}) {
        Sealed bad = good;
        REQUIRE(fragment(a).cipher_size == fragment(b).cipher_size);
        std::ranges::copy(bad.bytes_of_fragment(b), bad.bytes_of_fragment(a).begin());
        CAPTURE(a, b);
        check_only(bad, open_run(bad, bad.lower), a, kDamaged);
    }
}

TEST_CASE("T4: the same position of another file, cut, cipher or generation is damage",
          "[content][threat]") {
    const Sealed file = seal_run(AeadKind::kAes256Gcm, 0, 4);
    const Sealed other_file = seal_run(AeadKind::kAes256Gcm, 0, 4, 2);
    const Sealed other_cut = seal_run(AeadKind::kAes256Gcm, 0, 4, 1, 1);
    const Sealed other_cipher = seal_run(AeadKind::kXChaCha20Poly1305, 0, 4);
    for (const Sealed* from : {&other_file, &other_cut, &other_cipher}) {
        for (std::uint64_t number = 0; number < 4; ++number) {
            Sealed bad = file;
            Sealed donor = *from;
            std::ranges::copy(donor.bytes_of_fragment(number),
                              bad.bytes_of_fragment(number).begin());
            check_only(bad, open_run(bad, bad.lower), number, kDamaged);
        }
    }
    Sealed other_root = file;
    other_root.codec = std::make_shared<const ContentCodec>(
        ContentCodec::make(fixed<32>(2), AeadKind::kAes256Gcm, fixed<16>(1), 0));
    for (const OpenedFragment& state : open_run(other_root, file.lower).states) {
        CHECK(state.state == kDamaged);
    }
}

TEST_CASE("T6: a lower file cut at any byte misses fragments, and never reads short",
          "[content][threat]") {
    const Sealed file = seal_run(AeadKind::kAes256Gcm, 120, 8);
    for (std::size_t size = 0; size < file.lower.size(); ++size) {
        const Opened opened = open_run(file, Bytes(file.lower).first(size));
        for (std::uint64_t i = 0; i < file.count; ++i) {
            const Fragment piece = fragment(file.first + i);
            const bool whole = file.at(piece.number) + piece.cipher_size <= size;
            if ((opened.states[i].state == (whole ? kGood : kMissing))) continue;
            CAPTURE(size, i);
            CHECK(false);
        }
    }
}

TEST_CASE("a missing end of a sparse file is a hole only where nothing else is left", "[content]") {
    const Sealed file = seal_run(AeadKind::kAes256Gcm, 0, 4);
    const Opened none = open_run(file, Bytes(file.lower).first(file.at(2)), true);
    CHECK(none.states[1].state == kGood);
    CHECK(none.states[2].state == kHole);
    CHECK(none.states[3].state == kHole);
    const Opened part = open_run(file, Bytes(file.lower).first(file.at(2) + 30), true);
    CHECK(part.states[2].state == kMissing);
    CHECK(part.states[3].state == kHole);
}

TEST_CASE("T8: an epoch above the header's next is stale", "[content][threat]") {
    const Sealed file = seal_run(AeadKind::kAes256Gcm, 0, 2, 1, 0, 5);
    for (const auto& [header_epoch, state] : {std::pair<std::uint32_t, FragmentState>{3, kStale},
                                              {0, kStale},
                                              {4, kGood},
                                              {5, kGood},
                                              {6, kGood},
                                              {kMaxEpoch, kGood}}) {
        CAPTURE(header_epoch);
        const Opened opened = open_run(file, file.lower, false, header_epoch);
        for (const OpenedFragment& fragment_state : opened.states)
            CHECK(fragment_state.state == state);
        const bool zero =
            std::ranges::all_of(opened.plain, [](std::byte b) { return b == std::byte{0}; });
        CHECK(zero == (state == kStale));
    }
}

}  // namespace extencfs::volume
