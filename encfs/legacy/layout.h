// SPDX-License-Identifier: Apache-2.0
// Where the bytes of a file lie in an EncFS 1.x volume (FORMAT.md "Contents"). Pure arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace extencfs::legacy {

constexpr std::size_t kFileHeaderSize = 8;
// Of EncFS 2: how blocks are sealed (FORMAT.md "V7"), by the bits of a file's IV.
enum class Seal : std::uint8_t { kNone, kIv64, kIv96 };
constexpr std::size_t kSealTagSize = 16;
constexpr std::size_t kWideHeaderSize = 12;

struct ContentLayout {
    std::uint32_t block_size = 1024;  // below, MAC and random bytes included
    std::uint8_t mac_size = 0;        // 0 to 8
    std::uint8_t random_size = 0;     // before the data of each block
    bool unique_iv = true;            // each file has a header with an IV of its own
    bool holes = true;                // a whole block of zero bytes below reads as zeros
    bool plain = false;               // contents are not encrypted, nor framed in any way
    Seal seal = Seal::kNone;          // then there are no MAC and random bytes

    std::size_t overhead() const {
        return seal != Seal::kNone ? kSealTagSize : std::size_t{mac_size} + random_size;
    }
    // Plaintext bytes of a whole block.
    std::size_t data_size() const { return block_size - overhead(); }
    std::size_t header_size() const {
        if (!unique_iv || plain) return 0;
        return seal == Seal::kIv96 ? kWideHeaderSize : kFileHeaderSize;
    }
    // Of block `block_no` below.
    std::uint64_t block_offset(std::uint64_t block_no) const {
        return header_size() + block_no * block_size;
    }
};

// Bytes of plaintext of a lower file of `lower_size` bytes; none if no file has that size (it ends
// within its header).
std::optional<std::uint64_t> plain_size(const ContentLayout& layout, std::uint64_t lower_size);
// The reverse. An empty file may be without a header below, too; this is the size with it.
std::uint64_t lower_size(const ContentLayout& layout, std::uint64_t plain_size);

}  // namespace extencfs::legacy
