// SPDX-License-Identifier: Apache-2.0
// The daemon's own memory beside the records; for records*.cc only.
#pragma once

#include "encfs/meta/mapped_words.h"
#include "encfs/meta/records.h"

namespace extencfs::meta {

// Of a node that has a record. Written under the gate of its inode.
struct Records::Slot {
    // Also read without that gate: by whoever may have an id that is gone meanwhile.
    std::atomic<NodeId> owner{0};
    std::atomic<std::uint64_t> ino{0};
    std::uint32_t next = 0;  // of the same gate
    bool linked = false;     // ever had two links
    bool barred = false;
};

struct Records::InodeGate {
    std::mutex mutex;
    Window attrs, xattrs;
    std::uint32_t first = 0;  // slots of the nodes at this gate
};

struct Records::NameGate {
    std::mutex mutex;
    Window entries;
};

inline __u64& directory_version_of(xf_node& node) {
    return words_of(node)[offsetof(xf_node, dir_ver) / sizeof(__u64)];
}

// Makes it odd, and another odd one where it is odd. Without a lock: also evictions do it, which
// hold the gate of a name.
inline void make_version_incomplete(xf_node& node) {
    Word version(directory_version_of(node));
    __u64 seen = version.load(std::memory_order_relaxed);
    while (!version.compare_exchange_weak(seen, seen + (is_closed(seen) ? 2 : 1),
                                          std::memory_order_seq_cst)) {
    }
}

}  // namespace extencfs::meta
