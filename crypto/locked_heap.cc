// SPDX-License-Identifier: Apache-2.0
#include "crypto/locked_heap.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <type_traits>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

namespace extencfs::crypto {

namespace {

// One mapping, cut into spans. A span holds blocks of one size, so that a block needs no header and
// neighbours in the heap never reveal lengths by overwriting them.
constexpr std::size_t kCapacity = std::size_t{4} << 20;
constexpr std::size_t kSpanSize = std::size_t{16} << 10;
constexpr std::size_t kSpanCount = kCapacity / kSpanSize;
constexpr std::array<std::size_t, 16> kBlockSizes{32,  48,   64,   96,   128,  192,  256,  384,
                                                  512, 1024, 1536, 2048, 3072, 4096, 8192, 16384};
constexpr std::size_t kNoClass = kBlockSizes.size();
static_assert(kBlockSizes.back() == kSpanSize && kCapacity % kSpanSize == 0);

std::size_t class_for(std::size_t size_bytes) {
    const auto* fit = std::lower_bound(kBlockSizes.begin(), kBlockSizes.end(), size_bytes);
    return static_cast<std::size_t>(fit - kBlockSizes.begin());
}

// What lies before an allocation from ordinary memory.
struct alignas(16) OverflowHeader {
    std::size_t size_bytes;
};
static_assert(sizeof(OverflowHeader) == 16);

OverflowHeader* overflow_header(void* pointer) {
    return static_cast<OverflowHeader*>(pointer) - 1;
}

class Heap {
  public:
    Heap();

    bool owns(const void* pointer) const {
        const auto address = reinterpret_cast<std::uintptr_t>(pointer);
        const auto start = reinterpret_cast<std::uintptr_t>(start_);
        return start_ != nullptr && address - start < kCapacity;
    }
    // nullptr when the heap cannot serve it.
    void* take(std::size_t size_bytes);
    // REQUIRES: owns(pointer).
    void give_back(void* pointer);
    std::size_t block_size(const void* pointer) const {
        const std::size_t offset =
            static_cast<std::size_t>(static_cast<const std::byte*>(pointer) - start_);
        return kBlockSizes[span_class_[offset / kSpanSize]];
    }

    void* take_overflow(std::size_t size_bytes);
    LockedHeapStatus status() const;

    // Around fork(2): no list may be half changed in the child, and memory locks are not inherited.
    void before_fork();
    void after_fork(bool in_child);

  private:
    struct FreeBlock {
        FreeBlock* next;
    };
    struct SizeClass {
        std::mutex mutex;  // guards the rest; never held together with another, but for fork
        FreeBlock* free = nullptr;
        std::byte* fresh = nullptr;  // blocks of the newest span that were never given out
        std::byte* fresh_end = nullptr;
    };

    bool add_span(std::size_t which);
    void lock_memory();

    std::byte* start_ = nullptr;
    std::atomic<std::size_t> locked_bytes_ = 0;
    std::atomic<std::size_t> used_bytes_ = 0;
    std::atomic<std::size_t> overflow_count_ = 0;
    std::atomic<std::size_t> spans_used_ = 0;
    std::array<SizeClass, kBlockSizes.size()> classes_;
    // Written before a block of the span is given out, constant from then on.
    std::array<std::uint8_t, kSpanCount> span_class_{};
};

// Never destroyed: threads and exit handlers give memory back until the very end.
static_assert(std::is_trivially_destructible_v<Heap>);

Heap& heap() {
    static Heap the_heap;
    return the_heap;
}

Heap::Heap() {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    // A page without access on either side stops an overrun from elsewhere.
    void* map = ::mmap(nullptr, kCapacity + 2 * page, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return;
    auto* inner = static_cast<std::byte*>(map) + page;
    if (::mprotect(inner, kCapacity, PROT_READ | PROT_WRITE) != 0) {
        ::munmap(map, kCapacity + 2 * page);
        return;
    }
    start_ = inner;
    ::madvise(start_, kCapacity, MADV_DONTDUMP);
    lock_memory();
#if defined(__SANITIZE_ADDRESS__)
    __lsan_register_root_region(start_, kCapacity);
#endif
    ::pthread_atfork([] { heap().before_fork(); }, [] { heap().after_fork(false); },
                     [] { heap().after_fork(true); });
}

void Heap::lock_memory() {
    // Each page from its first use on: most are never used, and need no memory.
    locked_bytes_ = ::mlock2(start_, kCapacity, MLOCK_ONFAULT) == 0 ? kCapacity : 0;
}

bool Heap::add_span(std::size_t which) {
    std::size_t span = spans_used_.load();
    do {
        if (start_ == nullptr || span == kSpanCount) return false;
    } while (!spans_used_.compare_exchange_weak(span, span + 1));
    SizeClass& list = classes_[which];
    span_class_[span] = static_cast<std::uint8_t>(which);
    list.fresh = start_ + span * kSpanSize;
    list.fresh_end = list.fresh + kSpanSize / kBlockSizes[which] * kBlockSizes[which];
    return true;
}

void* Heap::take(std::size_t size_bytes) {
    const std::size_t which = class_for(size_bytes);
    if (which == kNoClass) return nullptr;
    SizeClass& list = classes_[which];
    const std::lock_guard lock(list.mutex);
    void* block = list.free;
    if (block != nullptr) {
        list.free = list.free->next;
        // lint-allow(wipe-by-memset): a list pointer, not a secret
        std::memset(block, 0, sizeof(FreeBlock));  // the rest was wiped when it was given back
    } else {
        if (list.fresh == list.fresh_end && !add_span(which)) return nullptr;
        block = list.fresh;
        list.fresh += kBlockSizes[which];
    }
    used_bytes_.fetch_add(kBlockSizes[which], std::memory_order_relaxed);
    return block;
}

void Heap::give_back(void* pointer) {
    const std::size_t size_bytes = block_size(pointer);
    ::explicit_bzero(pointer, size_bytes);
    SizeClass& list = classes_[class_for(size_bytes)];
    const std::lock_guard lock(list.mutex);
    list.free = new (pointer) FreeBlock{list.free};
    used_bytes_.fetch_sub(size_bytes, std::memory_order_relaxed);
}

void* Heap::take_overflow(std::size_t size_bytes) {
    if (size_bytes > PTRDIFF_MAX - sizeof(OverflowHeader)) return nullptr;
    void* memory = std::calloc(1, size_bytes + sizeof(OverflowHeader));
    if (memory == nullptr) return nullptr;
    overflow_count_.fetch_add(1, std::memory_order_relaxed);
    return new (memory) OverflowHeader{size_bytes} + 1;
}

LockedHeapStatus Heap::status() const {
    return {.capacity_bytes = start_ == nullptr ? 0 : kCapacity,
            .locked_bytes = locked_bytes_,
            .used_bytes = used_bytes_,
            .overflow_count = overflow_count_};
}

void Heap::before_fork() {
    // lint-allow(unlock-by-hand): held over fork(), taken and given back by different functions
    for (SizeClass& list : classes_) list.mutex.lock();
}

void Heap::after_fork(bool in_child) {
    // lint-allow(unlock-by-hand): held over fork(), taken and given back by different functions
    for (SizeClass& list : classes_) list.mutex.unlock();
    if (in_child) lock_memory();
}

std::size_t usable_size(void* pointer) {
    return heap().owns(pointer) ? heap().block_size(pointer) : overflow_header(pointer)->size_bytes;
}

void* openssl_malloc(std::size_t size_bytes, const char* /*file*/, int /*line*/) {
    return size_bytes == 0 ? nullptr : locked_alloc(size_bytes);
}

void openssl_free(void* pointer, const char* /*file*/, int /*line*/) {
    locked_free(pointer);
}

void* openssl_realloc(void* pointer, std::size_t size_bytes, const char* file, int line) {
    if (pointer == nullptr) return openssl_malloc(size_bytes, file, line);
    if (size_bytes == 0) {
        locked_free(pointer);
        return nullptr;
    }
    const std::size_t old_size = usable_size(pointer);
    if (heap().owns(pointer) && size_bytes <= old_size) return pointer;
    void* moved = locked_alloc(size_bytes);
    if (moved == nullptr) return nullptr;
    std::memcpy(moved, pointer, std::min(old_size, size_bytes));
    locked_free(pointer);
    return moved;
}

}  // namespace

void* locked_alloc(std::size_t size_bytes) {
    size_bytes = std::max<std::size_t>(size_bytes, 1);
    void* block = heap().take(size_bytes);
    return block != nullptr ? block : heap().take_overflow(size_bytes);
}

void locked_free(void* pointer) noexcept {
    if (pointer == nullptr) return;
    if (heap().owns(pointer)) {
        heap().give_back(pointer);
        return;
    }
    OverflowHeader* header = overflow_header(pointer);
    ::explicit_bzero(pointer, header->size_bytes);
    std::free(header);
}

LockedHeapStatus locked_heap_status() {
    return heap().status();
}

bool use_locked_heap_for_openssl() {
    return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1;
}

}  // namespace extencfs::crypto
