// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/geometry.h"

#include <cassert>

namespace extencfs::volume {
namespace {

// FORMAT.md "Contents": plaintext bytes in the first fragment of a block. The block begins
// 64 * (block_no + 1) bytes into a lower page, and the fragment ends where that page does.
std::uint32_t first_plain_size(std::uint64_t block_no) {
    const auto into_page = static_cast<std::uint32_t>(
        ((block_no + 1) * (kCipherBlockSize - kBlockSize)) % kLowerPageSize);
    return static_cast<std::uint32_t>(kLowerPageSize - into_page - kFragmentOverhead);
}

std::uint64_t round_up_to_page(std::uint64_t offset) {
    return (offset + kLowerPageSize - 1) / kLowerPageSize * kLowerPageSize;
}

static_assert(kCipherBlockSize - kBlockSize == kFileHeaderSize,
              "first_plain_size() counts the header as one more block's overhead");

}  // namespace

Fragment fragment(std::uint64_t number) {
    const std::uint64_t block_no = number / 2;
    const std::uint64_t cipher_off = kFileHeaderSize + block_no * kCipherBlockSize;
    const std::uint32_t first = first_plain_size(block_no);
    if (number % 2 == 0) {
        return {number, block_no * kBlockSize, first, cipher_off,
                static_cast<std::uint32_t>(first + kFragmentOverhead)};
    }
    const auto second = static_cast<std::uint32_t>(kBlockSize - first);
    return {number, block_no * kBlockSize + first, second, cipher_off + first + kFragmentOverhead,
            static_cast<std::uint32_t>(second + kFragmentOverhead)};
}

std::uint64_t fragment_of(std::uint64_t plain_off) {
    // Invariant: callers have checked offsets against kMaxFileSize.
    assert(plain_off < kMaxFileSize);
    const std::uint64_t block_no = plain_off / kBlockSize;
    return 2 * block_no + (plain_off % kBlockSize >= first_plain_size(block_no) ? 1 : 0);
}

std::uint64_t fragment_count(std::uint64_t size) {
    return size == 0 ? 0 : fragment_of(size - 1) + 1;
}

std::uint64_t data_end(std::uint64_t size) {
    if (size == 0) return kFileHeaderSize;
    const Fragment last = fragment(fragment_of(size - 1));
    return last.cipher_off + last.cipher_size;
}

std::uint64_t hint_of_size(std::uint64_t size) {
    if (size == 0) return kFileHeaderSize;
    return round_up_to_page(data_end(size)) + size % kBlockSize;
}

std::uint64_t size_of_hint(std::uint64_t st_size) {
    if (st_size == kFileHeaderSize) return 0;
    const std::uint64_t rest = st_size % kLowerPageSize;
    const std::uint64_t in_block = rest == 0 ? kBlockSize : rest;
    // 64 blocks fill 65 pages: the block is within two of this estimate, and the hint is injective,
    // so that at most one candidate answers.
    const std::uint64_t estimate =
        st_size / kLowerPageSize / 65 * 64 + st_size / kLowerPageSize % 65 * 64 / 65;
    for (std::uint64_t block_no = estimate < 2 ? 0 : estimate - 2; block_no <= estimate + 2;
         ++block_no) {
        const std::uint64_t size = block_no * kBlockSize + in_block;
        if (size <= kMaxFileSize && hint_of_size(size) == st_size) return size;
    }
    return kNoSize;
}

}  // namespace extencfs::volume
