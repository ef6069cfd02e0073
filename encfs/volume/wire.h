// SPDX-License-Identifier: Apache-2.0
// Little-endian numbers in byte fields (FORMAT.md "Conventions"). Inside encfs/volume only.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <cstring>

#include "crypto/bytes.h"

namespace extencfs::volume {

// Writes `value` at `offset`, least significant byte first. REQUIRES: it fits.
template <typename Number>
void put_le(MutBytes out, std::size_t offset, Number value) {
    assert(offset + sizeof(Number) <= out.size());
    for (std::size_t i = 0; i < sizeof(Number); ++i) {
        out[offset + i] = static_cast<std::byte>((value >> (8 * i)) & 0xff);
    }
}

template <typename Number>
Number get_le(Bytes in, std::size_t offset) {
    // Invariant: offsets are constants of the format, sizes were checked.
    assert(offset + sizeof(Number) <= in.size());
    Number value = 0;
    for (std::size_t i = 0; i < sizeof(Number); ++i) {
        value |= static_cast<Number>(static_cast<Number>(in[offset + i]) << (8 * i));
    }
    return value;
}

// Copies `from` to `out` at `offset`. REQUIRES: it fits.
inline void put_bytes(MutBytes out, std::size_t offset, Bytes from) {
    assert(offset + from.size() <= out.size());
    std::copy(from.begin(), from.end(), out.begin() + static_cast<std::ptrdiff_t>(offset));
}

inline ByteVector join(Bytes first, Bytes second) {
    ByteVector out(first.size() + second.size());
    put_bytes(out, 0, first);
    put_bytes(out, first.size(), second);
    return out;
}

template <std::size_t N>
ByteArray<N> get_bytes(Bytes in, std::size_t offset) {
    // Invariant: offsets are constants of the format, sizes were checked.
    assert(offset + N <= in.size());
    ByteArray<N> out;
    std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(offset), N, out.begin());
    return out;
}

inline bool all_zero(Bytes bytes) {
    // Each byte equals the next, and the first is zero.
    return bytes.empty() || (bytes[0] == std::byte{0} &&
                             std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

}  // namespace extencfs::volume
