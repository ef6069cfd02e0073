// SPDX-License-Identifier: Apache-2.0
// Fixed keys and bytes for the tests of encfs/volume.
#pragma once

#include <catch2/catch.hpp>
#include <random>
#include <string>

#include "crypto/bytes.h"
#include "encfs/volume/error.h"

namespace extencfs::volume {

// The kind of failure, or nothing: what tests compare.
template <typename T>
std::string kind_of(const Result<T>& result) {
    if (result) return "good";
    switch (result.error().kind) {
        case ErrorKind::kWrongPassword:
            return "wrong-password";
        case ErrorKind::kDamaged:
            return "damaged";
        case ErrorKind::kUnsupported:
            return "unsupported";
        case ErrorKind::kBadParameter:
            return "bad-parameter";
        case ErrorKind::kTooLong:
            return "too-long";
        case ErrorKind::kNotVolumeName:
            return "not-volume-name";
        case ErrorKind::kNoMemory:
            return "no-memory";
        case ErrorKind::kInternal:
            return "internal";
    }
    return "?";
}

// Deterministic bytes: the same seed gives the same test on every run.
inline ByteVector pattern(std::size_t size, std::uint32_t seed) {
    std::minstd_rand random(seed + 1);
    ByteVector out(size);
    for (std::byte& b : out) b = static_cast<std::byte>(random() >> 8);
    return out;
}
template <std::size_t N>
ByteArray<N> fixed(std::uint32_t seed) {
    ByteArray<N> out;
    const ByteVector from = pattern(N, seed);
    std::copy(from.begin(), from.end(), out.begin());
    return out;
}

inline void flip(MutBytes bytes, std::size_t bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
}

}  // namespace extencfs::volume
