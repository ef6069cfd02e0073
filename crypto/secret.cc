// SPDX-License-Identifier: Apache-2.0
#include "crypto/secret.h"

#include <openssl/crypto.h>

#include <cassert>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "crypto/locked_heap.h"

namespace extencfs::crypto {

namespace {

std::byte* take_secret_memory(std::size_t size_bytes) {
    if (size_bytes == 0) return nullptr;
    void* memory = locked_alloc(size_bytes);
    if (memory == nullptr) {
        // A constructor has no way to report this, and carrying on without the key would be worse.
        std::fputs("extencfs: out of memory for a secret\n", stderr);
        std::abort();
    }
    return static_cast<std::byte*>(memory);
}

}  // namespace

void wipe(MutBytes bytes) {
    if (!bytes.empty()) ::explicit_bzero(bytes.data(), bytes.size());
}

bool equal_constant_time(Bytes a, Bytes b) {
    if (a.size() != b.size()) return false;
    return a.empty() || CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

SecretBytes::SecretBytes(std::size_t size_bytes)
    : data_(take_secret_memory(size_bytes)), size_(size_bytes) {}

SecretBytes::SecretBytes(Bytes copy_of) : SecretBytes(copy_of.size()) {
    if (!copy_of.empty()) std::memcpy(data_, copy_of.data(), copy_of.size());
}

SecretBytes::~SecretBytes() {
    locked_free(data_);
}

SecretBytes::SecretBytes(SecretBytes&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

SecretBytes& SecretBytes::operator=(SecretBytes&& other) noexcept {
    if (this != &other) {
        locked_free(data_);
        data_ = std::exchange(other.data_, nullptr);
        size_ = std::exchange(other.size_, 0);
    }
    return *this;
}

void SecretBytes::shrink(std::size_t size_bytes) {
    assert(size_bytes <= size_);
    if (size_bytes >= size_) return;
    wipe(mutable_bytes().subspan(size_bytes));
    size_ = size_bytes;
}

}  // namespace extencfs::crypto
