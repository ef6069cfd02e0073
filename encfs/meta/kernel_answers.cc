// SPDX-License-Identifier: Apache-2.0
#include "encfs/meta/kernel_answers.h"

namespace extencfs::meta {

std::size_t KernelAnswers::map_entries() const {
    // Counts what may be changing: a plain look, no more.
    const auto read = [](const __u64& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); };
    std::size_t entries = 0;
    for (const xf_node& node : nodes()) entries += read(node.nodeid) != 0;
    for (const xf_bucket& bucket : buckets())
        for (const xf_way& way : bucket.way) entries += read(way.parent) != 0;
    return entries;
}

}  // namespace extencfs::meta
