// SPDX-License-Identifier: Apache-2.0
// What the tests of crypto/ share.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <string_view>

#include "crypto/bytes.h"
#include "crypto/encoding.h"
#include "crypto/random.h"

namespace extencfs::crypto {

inline ByteVector from_hex(std::string_view text) {
    const auto bytes = hex_decode(text);
    REQUIRE(bytes.has_value());
    return *bytes;
}

inline ByteVector random_bytes(std::size_t size_bytes) {
    ByteVector bytes(size_bytes);
    REQUIRE(fill_random(bytes).has_value());
    return bytes;
}

template <std::size_t N>
ByteArray<N> random_array() {
    ByteArray<N> bytes;
    REQUIRE(fill_random(bytes).has_value());
    return bytes;
}

inline bool all_zero(Bytes bytes) {
    return std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{}; });
}

}  // namespace extencfs::crypto
