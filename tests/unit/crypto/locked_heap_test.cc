// SPDX-License-Identifier: Apache-2.0
#include "crypto/locked_heap.h"

#include <openssl/crypto.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <string>
#include <thread>

#include "crypto/self_test.h"
#include "tests/unit/crypto/support.h"

namespace extencfs::crypto {

namespace {

struct Taken {
    std::byte* memory;
    std::size_t size;
    std::byte mark;
};

Taken take(std::size_t size, std::byte mark) {
    auto* memory = static_cast<std::byte*>(locked_alloc(size));
    return {memory, size, mark};
}

bool holds_only(const Taken& taken) {
    return std::all_of(taken.memory, taken.memory + taken.size,
                       [&](std::byte b) { return b == taken.mark; });
}

// Random allocations and frees; returns how many broken promises it saw.
int stress(unsigned seed, int rounds) {
    std::minstd_rand random(seed);
    std::vector<Taken> live;
    int broken = 0;
    for (int round = 0; round < rounds; ++round) {
        if (live.size() < 100 && random() % 2 == 0) {
            const std::size_t size = random() % 50 == 0 ? random() % 40000 : random() % 600;
            Taken taken = take(size, static_cast<std::byte>(random()));
            if (taken.memory == nullptr || reinterpret_cast<std::uintptr_t>(taken.memory) % 16) {
                ++broken;
                continue;
            }
            if (!all_zero({taken.memory, size})) ++broken;
            std::fill_n(taken.memory, size, taken.mark);
            live.push_back(taken);
        } else if (!live.empty()) {
            const std::size_t at = random() % live.size();
            if (!holds_only(live[at])) ++broken;
            locked_free(live[at].memory);
            live[at] = live.back();
            live.pop_back();
        }
    }
    for (const Taken& taken : live) {
        if (!holds_only(taken)) ++broken;
        locked_free(taken.memory);
    }
    return broken;
}

// Runs `check` in a child, whose heap and libraries may be spoiled; true when it returns true.
bool in_child(const std::function<bool()>& check) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(60);
        ::_exit(check() ? 0 : 1);
    }
    int status = -1;
    return child > 0 && ::waitpid(child, &status, 0) == child && status == 0;
}

// Their runtimes replace mlock by nothing.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kLocksAreReal = false;
#else
constexpr bool kLocksAreReal = true;
#endif

// The value in KiB of a line of /proc/self/status.
long status_kib(const std::string& name) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (line.starts_with(name + ":")) return std::stol(line.substr(name.size() + 1));
    }
    return -1;
}

}  // namespace

TEST_CASE("allocations are aligned, zero, apart, and wiped when freed", "[crypto][locked_heap]") {
    const std::size_t used_before = locked_heap_status().used_bytes;
    CHECK(stress(1, 50000) == 0);
    CHECK(locked_heap_status().used_bytes == used_before);
    locked_free(nullptr);
    void* empty = locked_alloc(0);
    CHECK(empty != nullptr);
    locked_free(empty);
}

TEST_CASE("threads share the locked heap", "[crypto][locked_heap]") {
    const std::size_t used_before = locked_heap_status().used_bytes;
    std::atomic<int> broken = 0;
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < 4; ++i) {
        threads.emplace_back([&broken, i] { broken += stress(100 + i, 20000); });
    }
    threads.clear();
    CHECK(broken == 0);
    CHECK(locked_heap_status().used_bytes == used_before);
}

TEST_CASE("memory taken in one thread is freed in another", "[crypto][locked_heap]") {
    const std::size_t used_before = locked_heap_status().used_bytes;
    std::vector<Taken> taken;
    std::thread([&] {
        for (std::size_t i = 0; i < 200; ++i) taken.push_back(take(i * 7, std::byte{1}));
    }).join();
    for (const Taken& one : taken) locked_free(one.memory);
    CHECK(locked_heap_status().used_bytes == used_before);
}

TEST_CASE("large allocations come from ordinary memory", "[crypto][locked_heap]") {
    const LockedHeapStatus before = locked_heap_status();
    const Taken large = take(1 << 20, std::byte{0x3C});
    REQUIRE(large.memory != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(large.memory) % 16 == 0);
    CHECK(all_zero({large.memory, large.size}));
    std::fill_n(large.memory, large.size, large.mark);
    CHECK(locked_heap_status().overflow_count == before.overflow_count + 1);
    CHECK(locked_heap_status().used_bytes == before.used_bytes);
    locked_free(large.memory);
    // Larger than any address space, and so large that adding a header overflows.
    CHECK(locked_alloc(SIZE_MAX / 2) == nullptr);
    CHECK(locked_alloc(SIZE_MAX) == nullptr);
    CHECK(locked_alloc(SIZE_MAX - 8) == nullptr);
}

TEST_CASE("a full heap overflows and recovers", "[crypto][locked_heap]") {
    // In a child, since spans given to one block size stay with it.
    CHECK(in_child([] {
        const LockedHeapStatus before = locked_heap_status();
        std::vector<Taken> taken;
        const std::size_t count = before.capacity_bytes / 4096 + 50;
        for (std::size_t i = 0; i < count; ++i) {
            taken.push_back(take(4096, static_cast<std::byte>(i)));
            if (taken.back().memory == nullptr) return false;
            std::fill_n(taken.back().memory, 4096, taken.back().mark);
        }
        if (locked_heap_status().overflow_count < before.overflow_count + 50) return false;
        if (locked_heap_status().used_bytes > before.capacity_bytes) return false;
        for (const Taken& one : taken) {
            if (!holds_only(one)) return false;
            locked_free(one.memory);
        }
        if (locked_heap_status().used_bytes != before.used_bytes) return false;
        const std::size_t overflows = locked_heap_status().overflow_count;
        void* again = locked_alloc(4096);
        const bool from_heap = again != nullptr && locked_heap_status().overflow_count == overflows;
        locked_free(again);
        return from_heap;
    }));
}

TEST_CASE("the status tells what the kernel says is locked", "[crypto][locked_heap]") {
    if (!kLocksAreReal) return;
    locked_free(locked_alloc(1));
    const LockedHeapStatus status = locked_heap_status();
    CHECK(status.capacity_bytes >= 1 << 20);
    if (status.locked_bytes != 0) CHECK(status.locked_bytes == status.capacity_bytes);
    CHECK(status_kib("VmLck") == static_cast<long>(status.locked_bytes / 1024));
    // Locks are not inherited: the child must have locked again.
    CHECK(in_child([locked = status.locked_bytes] {
        return locked_heap_status().locked_bytes == locked &&
               status_kib("VmLck") == static_cast<long>(locked / 1024);
    }));
}

TEST_CASE("without permission to lock, secrets still work", "[crypto][locked_heap]") {
    if (!kLocksAreReal || ::geteuid() != 0) return;
    CHECK(in_child([] {
        // Without root's privilege and with a limit of zero, the next fork cannot lock.
        const rlimit none{0, 0};
        if (::setrlimit(RLIMIT_MEMLOCK, &none) != 0 || ::setuid(65534) != 0) return false;
        return in_child([] {
            return locked_heap_status().locked_bytes == 0 && status_kib("VmLck") == 0 &&
                   stress(7, 2000) == 0;
        });
    }));
}

TEST_CASE("forking while threads allocate leaves the child a sound heap", "[crypto][locked_heap]") {
    // AddressSanitizer's own allocator keeps its locks over a fork: the child may wait for ever for
    // memory beyond our heap, which comes from there.
    if (!kLocksAreReal) return;
    std::atomic<bool> stop = false;
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < 2; ++i) {
        threads.emplace_back([&stop, i] {
            for (unsigned round = 0; !stop; ++round) stress(i * 1000 + round, 200);
        });
    }
    for (int i = 0; i < 30; ++i) {
        const bool sound = in_child([] { return stress(5, 500) == 0; });
        if (!sound) FAIL_CHECK("the heap of child " << i << " is broken");
    }
    stop = true;
}

}  // namespace extencfs::crypto
