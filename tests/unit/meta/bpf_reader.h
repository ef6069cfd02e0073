// SPDX-License-Identifier: Apache-2.0
// What a BPF program does with the records, in C++: the same reads in the same order, so that tests
// can race it against the daemon's side with nothing loaded.
#pragma once

#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "bpf/name_tag.h"
#include "encfs/meta/mapped_words.h"
#include "encfs/meta/records.h"

namespace extencfs::meta {

// Memory as it is mapped: zero at first.
struct Mapped {
    std::vector<xf_node> nodes;
    std::vector<xf_bucket> buckets;
    RecordSettings settings{.tag_key = {1, 2}, .attr_valid_s = 1, .always_absent = 0};

    Mapped(std::size_t node_count, std::size_t bucket_count)
        : nodes(node_count), buckets(bucket_count) {}
};

enum class Verdict { kPass, kAbsent, kFound };

struct Looked {
    Verdict verdict = Verdict::kPass;
    NodeId node = 0;
    xf_attr attr{};
};

class BpfReader {
  public:
    explicit BpfReader(Mapped& mapped) : mapped_(mapped) {}

    // Whether the node's attributes are known.
    bool getattr(NodeId node, xf_attr& attr, std::uint64_t* valid_s = nullptr) {
        if (xf_slot(node) >= mapped_.nodes.size()) return false;
        __u64* words = words_of(mapped_.nodes[xf_slot(node)]);
        const __u64 version = acquire(words[0]);
        if (is_closed(version)) return false;
        if (acquire(words[1]) != node) return false;
        __u64 image[12];
        for (std::size_t i = 0; i < 12; ++i) image[i] = acquire(words[2 + i]);
        if (relaxed(words[0]) != version) return false;
        std::memcpy(&attr, image, sizeof attr);
        if (valid_s != nullptr) *valid_s = image[11];
        return true;
    }

    // Bits known absent; 0 where nothing is.
    std::uint64_t absent_xattrs(NodeId node) {
        if (xf_slot(node) >= mapped_.nodes.size()) return 0;
        __u64* words = words_of(mapped_.nodes[xf_slot(node)]);
        const __u64 version = acquire(words[kXattrVersion]);
        if (is_closed(version) || acquire(words[1]) != node) return 0;
        const __u64 bits = acquire(words[kXattrVersion + 1]);
        return relaxed(words[kXattrVersion]) == version ? bits : 0;
    }

    // kFound counts one reference, which is given back like any other.
    Looked lookup(NodeId parent, std::string_view name) {
        const bool has_record = xf_slot(parent) < mapped_.nodes.size();
        __u64* directory = words_of(mapped_.nodes[has_record ? xf_slot(parent) : 0]);
        const __u64 complete = acquire(directory[kDirVersion]);
        const bool whole = has_record && !is_closed(complete) && acquire(directory[1]) == parent;
        const __u64 key[2] = {mapped_.settings.tag_key[0], mapped_.settings.tag_key[1]};
        const xf_tag tag = xf_tag_of(key, parent, name.data(), static_cast<__u32>(name.size()));
        __u64* bucket = words_of(mapped_.buckets[tag.lo & (mapped_.buckets.size() - 1)]);
        const __u64 version = acquire(bucket[0]);
        if (is_closed(version)) return {};
        bool found = false;
        __u64 child = 0;
        for (std::size_t i = 0; i < XF_WAYS; ++i) {
            __u64* way = bucket + 1 + i * 4;
            if (acquire(way[0]) != parent || acquire(way[1]) != tag.lo || acquire(way[2]) != tag.hi)
                continue;
            found = true;
            child = acquire(way[3]);
        }
        if (relaxed(bucket[0]) != version) return {};
        if (!found) {
            if (whole && acquire(directory[kDirVersion]) == complete)
                return {.verdict = Verdict::kAbsent};
            return {};
        }
        if (child == XF_CHILD_ABSENT) return {.verdict = Verdict::kAbsent};
        if (child == XF_CHILD_BUSY) return {};
        Looked out{.verdict = Verdict::kFound, .node = child};
        if (!getattr(child, out.attr)) return {};
        if (acquire(bucket[0]) != version) return {};
        return count(child) ? out : Looked{};
    }

  private:
    static constexpr std::size_t kXattrVersion = offsetof(xf_node, xattr_ver) / 8;
    static constexpr std::size_t kDirVersion = offsetof(xf_node, dir_ver) / 8;
    static constexpr std::size_t kRef = offsetof(xf_node, ref) / 8;

    static __u64 acquire(__u64& word) { return Word(word).load(std::memory_order_acquire); }
    static __u64 relaxed(__u64& word) { return Word(word).load(std::memory_order_relaxed); }

    bool count(NodeId node) {
        Word ref(words_of(mapped_.nodes[xf_slot(node)])[kRef]);
        for (int i = 0; i < XF_REF_CAS_TRIES; ++i) {
            __u64 seen = ref.load(std::memory_order_relaxed);
            if (!xf_ref_is(seen, node) || xf_ref_count(seen) == XF_REF_COUNT_MASK) return false;
            if (ref.compare_exchange_strong(seen, seen + 1, std::memory_order_acq_rel)) return true;
        }
        return false;
    }

    Mapped& mapped_;
};

}  // namespace extencfs::meta
