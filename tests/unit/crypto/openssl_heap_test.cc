// SPDX-License-Identifier: Apache-2.0
// OpenSSL on the locked heap. It must be asked for before OpenSSL's first allocation, so the checks
// run in a process of their own: a hidden test case of this program.
#include <openssl/crypto.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "crypto/aead.h"
#include "crypto/locked_heap.h"
#include "crypto/self_test.h"
#include "tests/unit/crypto/support.h"

namespace extencfs::crypto {

namespace {

void use_aead(AeadKind kind) {
    const auto aead = thread_aead(kind);
    if (!aead) return;
    ByteArray<32> key{};
    ByteArray<16> tag{};
    if ((*aead)->set_key(key)) {
        (void)(*aead)->seal(ByteVector(aead_nonce_size(kind)), {}, {}, {}, tag);
    }
}

}  // namespace

TEST_CASE("OpenSSL on the locked heap, from the start of a process", "[.][openssl_heap_process]") {
    REQUIRE(use_locked_heap_for_openssl());
    auto* bytes = static_cast<std::byte*>(OPENSSL_zalloc(100));
    CHECK(use_locked_heap_for_openssl());  // again: nothing changes
    REQUIRE(bytes != nullptr);
    CHECK(locked_heap_status().used_bytes >= 100);
    std::fill_n(bytes, 100, std::byte{7});
    for (const std::size_t size : {3000U, 100000U, 200000U, 500U, 90U}) {
        bytes = static_cast<std::byte*>(OPENSSL_realloc(bytes, size));
        REQUIRE(bytes != nullptr);
        const std::size_t kept = std::min<std::size_t>(size, 90);
        CHECK(std::all_of(bytes, bytes + kept, [](std::byte b) { return b == std::byte{7}; }));
    }
    CHECK(OPENSSL_realloc(bytes, 0) == nullptr);
    void* fresh = OPENSSL_realloc(nullptr, 10);
    CHECK(fresh != nullptr);
    OPENSSL_free(fresh);
    OPENSSL_free(nullptr);

    const std::size_t overflows = locked_heap_status().overflow_count;
    CHECK(self_test().has_value());
    CHECK(locked_heap_status().used_bytes > 50000);
    CHECK(locked_heap_status().overflow_count == overflows);

    // A thread that ends gives all of its contexts back.
    const auto one_thread = [] {
        std::jthread([] {
            use_aead(AeadKind::kAes256Gcm);
            use_aead(AeadKind::kXChaCha20Poly1305);
        }).join();
    };
    one_thread();
    const std::size_t used = locked_heap_status().used_bytes;
    for (int i = 0; i < 50; ++i) one_thread();
    CHECK(locked_heap_status().used_bytes == used);
}

TEST_CASE("OpenSSL cannot change heaps once it has allocated", "[crypto][locked_heap]") {
    use_aead(AeadKind::kAes256Gcm);
    CHECK_FALSE(use_locked_heap_for_openssl());
}

TEST_CASE("OpenSSL works on the locked heap", "[crypto][locked_heap]") {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        ::alarm(60);
        ::execl("/proc/self/exe", "unit_crypto", "[openssl_heap_process]",
                static_cast<char*>(nullptr));
        ::_exit(127);
    }
    int status = -1;
    CHECK(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}

}  // namespace extencfs::crypto
