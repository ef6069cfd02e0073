// SPDX-License-Identifier: Apache-2.0
// Secrets: memory that is locked where the limit allows, wiped when it dies, and never printed.
#pragma once

#include <cassert>
#include <cstddef>
#include <string>

#include "crypto/bytes.h"

namespace extencfs::crypto {

// Overwrites memory in a way that the compiler may not remove.
void wipe(MutBytes bytes);

// True when both are equal; time depends on the length only.
bool equal_constant_time(Bytes a, Bytes b);

// A run of secret bytes whose length is known when it is made (a password, a wrapped key).
// Move-only; wiped on destruction and when moved from. Memory comes from the locked heap
// (crypto/locked_heap.h); when that is exhausted it is ordinary memory, still wiped.
// THREADS: as a vector.
class SecretBytes {
  public:
    SecretBytes() = default;
    explicit SecretBytes(std::size_t size_bytes);  // zero filled
    explicit SecretBytes(Bytes copy_of);
    ~SecretBytes();
    SecretBytes(SecretBytes&& other) noexcept;
    SecretBytes& operator=(SecretBytes&& other) noexcept;
    SecretBytes(const SecretBytes&) = delete;
    SecretBytes& operator=(const SecretBytes&) = delete;

    Bytes bytes() const { return {data_, size_}; }
    MutBytes mutable_bytes() { return {data_, size_}; }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    // Shortens to `size_bytes` (not above the present size), wiping the rest.
    void shrink(std::size_t size_bytes);

  private:
    std::byte* data_ = nullptr;  // owned; from the locked heap
    std::size_t size_ = 0;
};

// A key of exactly N bytes, in the locked heap. An empty (moved-from) one has no bytes: asserted.
template <std::size_t N>
class Secret {
  public:
    static constexpr std::size_t kSize = N;
    Secret() : bytes_(N) {}
    explicit Secret(BytesN<N> copy_of) : bytes_(Bytes(copy_of)) {}
    BytesN<N> bytes() const {
        assert(!bytes_.empty());
        return BytesN<N>(bytes_.bytes().data(), N);
    }
    MutBytesN<N> mutable_bytes() {
        assert(!bytes_.empty());
        return MutBytesN<N>(bytes_.mutable_bytes().data(), N);
    }

  private:
    SecretBytes bytes_;
};

using Key256 = Secret<32>;
using SivKey = Secret<64>;

}  // namespace extencfs::crypto
