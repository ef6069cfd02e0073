// SPDX-License-Identifier: Apache-2.0
// Words of memory that somebody outside this program reads while they are written, under a version
// (a sequence lock): an odd one is closed, an even one published.
//
// Memory order. The writer makes the version odd, stores the words, makes it even; each of these is
// a release, so that whoever sees a word sees the odd version before it, and whoever sees the even
// version sees all words. The reader loads the version, the words and the version again, each but
// the last with acquire: if the versions are equal and even, no word is of another publication. On
// x86-64 these are plain loads and stores.
#pragma once

#include <linux/types.h>

#include <atomic>
#include <cstddef>
#include <cstring>
#include <optional>

#include "bpf/abi.h"

namespace extencfs::meta {

using Word = std::atomic_ref<__u64>;

// Records are accessed as words only, here and by tests that read as BPF does.
inline __u64* words_of(xf_node& node) {
    return reinterpret_cast<__u64*>(&node);
}
inline __u64* words_of(xf_bucket& bucket) {
    return reinterpret_cast<__u64*>(&bucket);
}

inline bool is_closed(__u64 version) {
    return (version & 1) != 0;
}

// Closes a block. A full barrier: visible before the lower call that follows. (Without it, too, any
// thread that learns of that call's effect learns of the closing: both are stores of one thread,
// in this order, and the kernel's locks release them in this order.)
// LOCKS: whatever keeps other writers of the block out.
inline void close_version(__u64& version) {
    const __u64 now = Word(version).load(std::memory_order_relaxed);
    if (!is_closed(now)) Word(version).exchange(now + 1, std::memory_order_seq_cst);
}

// REQUIRES: the version is odd. LOCKS: likewise.
inline void open_version(__u64& version) {
    Word(version).fetch_add(1, std::memory_order_release);
}

inline void store_words(__u64* to, const void* from, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        __u64 word;
        std::memcpy(&word, static_cast<const char*>(from) + i * sizeof word, sizeof word);
        Word(to[i]).store(word, std::memory_order_release);
    }
}

inline void clear_words(__u64* to, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) Word(to[i]).store(0, std::memory_order_release);
}

}  // namespace extencfs::meta
