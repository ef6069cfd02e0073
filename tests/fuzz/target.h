// SPDX-License-Identifier: Apache-2.0
// What the fuzz targets share: taking an input apart, the keys and originals of tests/vectors, and
// what happens when a promise is broken.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "crypto/bytes.h"
#include "encfs/volume/volume_keys.h"
#include "encfs/volume/wire.h"

// libFuzzer's entry point; replay.cc calls it as well.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace extencfs::fuzz {

// Says which promise was broken and aborts.
[[noreturn]] void broken(const char* promise);
inline void promise(bool kept, const char* what) {
    if (!kept) broken(what);
}

// An input, read front to back; behind its end everything is zero.
class Input {
  public:
    Input(const std::uint8_t* data, std::size_t size)
        : left_(std::as_bytes(std::span(data, size))) {}

    bool empty() const { return left_.empty(); }
    std::uint8_t byte() { return static_cast<std::uint8_t>(number(1)); }
    std::uint64_t number(std::size_t bytes);  // little endian
    Bytes take(std::size_t most);
    Bytes rest() { return take(left_.size()); }
    template <std::size_t N>
    ByteArray<N> array() {
        ByteArray<N> out{};
        const Bytes from = take(N);
        std::copy(from.begin(), from.end(), out.begin());
        return out;
    }

  private:
    Bytes left_;
};

// Does to `image` what an attacker could: changes, zeroes, moves, cuts off, appends.
void edit(Input& input, ByteVector& image);

// tests/vectors/volume/format1.json.
const nlohmann::json& vectors();
ByteVector hex(const nlohmann::json& text);
template <std::size_t N>
ByteArray<N> hex_array(const nlohmann::json& text) {
    const ByteVector bytes = hex(text);
    promise(bytes.size() == N, "the vectors have the right lengths");
    ByteArray<N> out{};
    std::copy(bytes.begin(), bytes.end(), out.begin());
    return out;
}
// The configuration of the vectors, its volume key and all that follows from it: what the other
// vectors were made with.
const volume::Config& vector_config();
ByteArray<32> vector_volume_key();
const volume::VolumeKeys& vector_keys();

inline bool equal(Bytes a, Bytes b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}
using volume::all_zero;

}  // namespace extencfs::fuzz
