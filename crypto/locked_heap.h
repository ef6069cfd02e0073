// SPDX-License-Identifier: Apache-2.0
// A heap in memory that is locked (never swapped) and left out of core dumps, for secrets and for
// OpenSSL's key schedules. Made at first use and never given back. A child of fork(2) locks its
// copy again, since memory locks are not inherited.
#pragma once

#include <cstddef>

namespace extencfs::crypto {

// What the locked heap holds now.
struct LockedHeapStatus {
    std::size_t capacity_bytes;  // reserved
    std::size_t locked_bytes;    // of them really locked (0 when RLIMIT_MEMLOCK forbids it)
    std::size_t used_bytes;
    std::size_t overflow_count;  // allocations so far that had to come from ordinary memory
};

// Takes `size_bytes` (at least 1) aligned to 16, zero filled; ordinary memory when the heap is
// full; nullptr when there is no memory at all. THREADS: any.
void* locked_alloc(std::size_t size_bytes);
// Wipes and gives back what locked_alloc gave; nullptr is ignored. THREADS: any.
void locked_free(void* pointer) noexcept;

LockedHeapStatus locked_heap_status();

// Routes OpenSSL's allocations through the locked heap (CRYPTO_set_mem_functions), so that
// expanded keys are locked and wiped too. Call first thing in main(), before any OpenSSL call.
// Returns false when OpenSSL had already allocated
// elsewhere.
bool use_locked_heap_for_openssl();

}  // namespace extencfs::crypto
