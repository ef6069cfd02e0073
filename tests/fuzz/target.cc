// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/target.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "crypto/encoding.h"

namespace extencfs::fuzz {

void broken(const char* promise) {
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
}

std::uint64_t Input::number(std::size_t bytes) {
    std::uint64_t value = 0;
    const Bytes from = take(bytes);
    for (std::size_t i = 0; i < from.size(); ++i) {
        value |= static_cast<std::uint64_t>(from[i]) << (8 * i);
    }
    return value;
}

Bytes Input::take(std::size_t most) {
    const Bytes taken = left_.first(std::min(most, left_.size()));
    left_ = left_.subspan(taken.size());
    return taken;
}

void edit(Input& input, ByteVector& image) {
    constexpr std::size_t kMostAppended = 16 * 1024;
    const std::size_t edits = input.byte() % 8;
    for (std::size_t i = 0; i < edits; ++i) {
        const unsigned kind = input.byte() % 6;
        const std::size_t at = std::min<std::size_t>(input.number(3), image.size());
        const std::size_t size = std::min<std::size_t>(input.number(2), image.size() - at);
        const auto place = image.begin() + static_cast<std::ptrdiff_t>(at);
        switch (kind) {
            case 0:
                if (at < image.size()) *place ^= static_cast<std::byte>(1u << (size % 8));
                break;
            case 1: {
                const Bytes with = input.take(size);
                std::copy(with.begin(), with.end(), place);
                break;
            }
            case 2:
                std::fill_n(place, size, std::byte{0});
                break;
            case 3: {
                const ByteVector moved(place, place + static_cast<std::ptrdiff_t>(size));
                const std::size_t to = std::min<std::size_t>(input.number(3), image.size() - size);
                std::copy(moved.begin(), moved.end(),
                          image.begin() + static_cast<std::ptrdiff_t>(to));
                break;
            }
            case 4:
                image.resize(at);
                break;
            default: {
                const Bytes with = input.take(64);
                image.insert(image.end(), with.begin(), with.end());
                image.resize(image.size() + size % kMostAppended);
            }
        }
    }
}

const nlohmann::json& vectors() {
    static const nlohmann::json loaded = [] {
        std::ifstream file(EXTENCFS_VECTORS);
        promise(file.good(), "the vectors can be read");
        return nlohmann::json::parse(file);
    }();
    return loaded;
}

ByteVector hex(const nlohmann::json& text) {
    auto bytes = crypto::hex_decode(text.get<std::string>());
    promise(bytes.has_value(), "the vectors are hexadecimal");
    return std::move(*bytes);
}

const volume::Config& vector_config() {
    static const volume::Config config = [] {
        auto parsed = volume::parse_config(vectors()["config"]["text"].get<std::string>());
        promise(parsed.has_value(), "the vectors' configuration is good");
        return std::move(*parsed);
    }();
    return config;
}

ByteArray<32> vector_volume_key() {
    return hex_array<32>(vectors()["config"]["volume_key"]);
}

const volume::VolumeKeys& vector_keys() {
    static const auto keys = [] {
        auto derived = volume::VolumeKeys::derive(vector_config(), vector_volume_key());
        promise(derived.has_value(), "the vectors' keys can be derived");
        return std::move(*derived);
    }();
    return *keys;
}

}  // namespace extencfs::fuzz
