// SPDX-License-Identifier: Apache-2.0
// Byte spans used everywhere. Lengths live in the types where they are fixed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace extencfs {

using Bytes = std::span<const std::byte>;
using MutBytes = std::span<std::byte>;
template <std::size_t N>
using BytesN = std::span<const std::byte, N>;
template <std::size_t N>
using MutBytesN = std::span<std::byte, N>;
template <std::size_t N>
using ByteArray = std::array<std::byte, N>;
using ByteVector = std::vector<std::byte>;

// The bytes of a string, not a copy.
inline Bytes bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}
// The text that bytes hold, not a copy.
inline std::string_view text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline unsigned char* raw(MutBytes b) {
    return reinterpret_cast<unsigned char*>(b.data());
}
inline const unsigned char* raw(Bytes b) {
    return reinterpret_cast<const unsigned char*>(b.data());
}

}  // namespace extencfs
