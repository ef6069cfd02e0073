// SPDX-License-Identifier: Apache-2.0
// Where plaintext lies in the lower file: pure arithmetic on FORMAT.md "Contents".
#pragma once

#include <cstdint>

#include "encfs/volume/format.h"

namespace extencfs::volume {

// A fragment is the unit of sealing. Fragment numbers count from 0: block i holds 2i and 2i+1.
struct Fragment {
    std::uint64_t number;
    std::uint64_t plain_off;    // of its first plaintext byte in the file
    std::uint32_t plain_size;   // 32..4064, a multiple of 32
    std::uint64_t cipher_off;   // of its nonce in the lower file
    std::uint32_t cipher_size;  // plain_size + 32
};

Fragment fragment(std::uint64_t number);
// The fragment that holds the plaintext byte at `plain_off`. REQUIRES plain_off < kMaxFileSize.
std::uint64_t fragment_of(std::uint64_t plain_off);
// Number of fragments that a file of `size` plaintext bytes has.
std::uint64_t fragment_count(std::uint64_t size);
// Lower end (exclusive) of the last fragment of a file of `size` bytes; kFileHeaderSize for 0.
std::uint64_t data_end(std::uint64_t size);

// st_size that a closed file of `size` plaintext bytes is given, and back (FORMAT.md "Size hint").
std::uint64_t hint_of_size(std::uint64_t size);
// Returns the plaintext size, or kNoSize where no size has that hint (a damaged or foreign file).
constexpr std::uint64_t kNoSize = ~std::uint64_t{0};
std::uint64_t size_of_hint(std::uint64_t st_size);

}  // namespace extencfs::volume
