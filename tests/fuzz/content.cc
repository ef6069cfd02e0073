// SPDX-License-Identifier: Apache-2.0
// Sealed fragments, edited or replaced, opened at their place or at another one, with the right
// file key or another one: what comes out is the original, fragment by fragment, or zeros and a
// state that says why.
#include "tests/fuzz/target.h"

namespace {

using namespace extencfs;
using namespace extencfs::volume;

struct Original {
    crypto::AeadKind cipher;
    FileId id;
    std::uint32_t cut;
    std::uint64_t first, count;
    std::uint16_t used_of_last;
    std::uint32_t epoch;
    ByteVector plain, lower;
};

const std::vector<Original>& originals() {
    static const std::vector<Original> all = [] {
        std::vector<Original> made;
        for (const auto& row : fuzz::vectors()["contents"]) {
            made.push_back({
                .cipher = static_cast<crypto::AeadKind>(row["cipher"].get<int>()),
                .id = fuzz::hex_array<16>(row["file_id"]),
                .cut = row["cut"],
                .first = row["first"],
                .count = row["count"],
                .used_of_last = row["used_of_last"],
                .epoch = row["epoch"],
                .plain = fuzz::hex(row["plain"]),
                .lower = fuzz::hex(row["lower"]),
            });
        }
        return made;
    }();
    return all;
}

std::size_t plain_size(std::uint64_t first, std::uint64_t count) {
    const Fragment last = fragment(first + count - 1);
    return last.plain_off + last.plain_size - fragment(first).plain_off;
}
std::size_t lower_size(std::uint64_t first, std::uint64_t count) {
    const Fragment last = fragment(first + count - 1);
    return last.cipher_off + last.cipher_size - fragment(first).cipher_off;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::uint64_t kMostFragments = 6;
    fuzz::Input input(data, size);
    const Original& was = originals()[input.byte() % originals().size()];
    const std::uint8_t flags = input.byte();
    const bool sparse = (flags & 1) != 0;
    const bool replaced = (flags & 2) != 0;
    const bool elsewhere = (flags & 4) != 0;
    const bool other_key = (flags & 8) != 0;
    const std::uint64_t first = elsewhere ? input.number(6) : was.first;
    const std::uint64_t count = elsewhere ? 1 + input.byte() % kMostFragments : was.count;
    const std::uint32_t epoch =
        (flags & 16) != 0 ? static_cast<std::uint32_t>(input.number(4)) & kMaxEpoch : was.epoch;
    ByteVector lower = was.lower;
    if (replaced) {
        const Bytes with = input.rest();
        lower.assign(with.begin(), with.end());
    } else {
        fuzz::edit(input, lower);
    }
    if (lower.size() > lower_size(first, count)) lower.resize(lower_size(first, count));

    const auto& root = fuzz::vector_keys().current().content_root;
    const auto codec =
        ContentCodec::make(root.bytes(), was.cipher, was.id, was.cut + (other_key ? 1 : 0));
    ByteVector plain(plain_size(first, count), std::byte{0x5a});
    std::vector<OpenedFragment> states(count);
    fuzz::promise(codec.open(first, count, lower, epoch, sparse, plain, states).has_value(),
                  "damage is a state, not an error");
    for (std::uint64_t i = 0; i < count; ++i) {
        const Fragment piece = fragment(first + i);
        const Bytes text =
            Bytes(plain).subspan(piece.plain_off - fragment(first).plain_off, piece.plain_size);
        if (states[i].state != FragmentState::kGood) {
            fuzz::promise(fuzz::all_zero(text) && states[i].used == 0, "nothing of a bad fragment");
            fuzz::promise(states[i].state != FragmentState::kHole || sparse, "no hole when dense");
            continue;
        }
        const bool of_it = piece.number >= was.first && piece.number < was.first + was.count;
        fuzz::promise(of_it && !other_key, "a fragment opens at its place, with its key");
        fuzz::promise(was.epoch <= epoch + 1, "no fragment is newer than the header allows");
        const std::size_t at = piece.plain_off - fragment(was.first).plain_off;
        fuzz::promise(fuzz::equal(text, Bytes(was.plain).subspan(at, piece.plain_size)),
                      "what authenticates is the original");
        const bool last = piece.number == was.first + was.count - 1;
        fuzz::promise(states[i].used == (last ? was.used_of_last : piece.plain_size),
                      "and as long");
    }
    return 0;
}
