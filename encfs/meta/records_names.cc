// SPDX-License-Identifier: Apache-2.0
// Names: entries in buckets of a few ways each, and directories whose every name is there.
#include <algorithm>

#include "bpf/name_tag.h"
#include "encfs/meta/records_private.h"

namespace extencfs::meta {

namespace {

constexpr std::size_t kWayWords = sizeof(xf_way) / sizeof(__u64);

// The words of a way.
enum : std::size_t { kParent, kTagLo, kTagHi, kChild };
static_assert(offsetof(xf_way, parent) == kParent * 8 && offsetof(xf_way, tag) == kTagLo * 8 &&
              offsetof(xf_way, child) == kChild * 8);

__u64& version_of(xf_bucket& bucket) {
    return words_of(bucket)[0];
}
__u64* way_of(xf_bucket& bucket, std::size_t index) {
    return words_of(bucket) + offsetof(xf_bucket, way) / sizeof(__u64) + index * kWayWords;
}
__u64 get(__u64& word) {
    return Word(word).load(std::memory_order_relaxed);
}

bool can_be_known(const core::MetadataSink::Name& name) {
    return name.parent != 0 && !name.name.empty() && name.name.size() <= XF_NAME_MAX;
}

}  // namespace

xf_tag Records::tag_of(const Name& name) const {
    const __u64 key[2] = {settings_.tag_key[0], settings_.tag_key[1]};
    return xf_tag_of(key, name.parent, name.name.data(), static_cast<__u32>(name.name.size()));
}

xf_tag Records::prepared_tag(const Change& change, std::size_t index) const {
    return {change.prepared[2 * index], change.prepared[2 * index + 1]};
}

std::size_t Records::name_gate(const xf_tag& tag) const {
    return bucket_of(tag) & (name_gates_.size() - 1);
}

unsigned Records::own_name(const Change* within, std::size_t gate) const {
    if (within == nullptr) return 0;
    for (std::size_t i = 0; i < within->names.size(); ++i) {
        if (can_be_known(within->names[i]) && name_gate(prepared_tag(*within, i)) == gate) return 1;
    }
    return 0;
}

void Records::begin_names(Change& change) {
    for (std::size_t i = 0; i < change.names.size(); ++i) {
        const Name& name = change.names[i];
        if (!can_be_known(name)) continue;
        const xf_tag tag = tag_of(name);
        const std::size_t gate = name_gate(tag);
        change.prepared[2 * i] = tag.lo;
        change.prepared[2 * i + 1] = tag.hi;
        const bool counted =
            i == 1 && can_be_known(change.names[0]) && name_gate(prepared_tag(change, 0)) == gate;
        const std::lock_guard lock(name_gates_[gate].mutex);
        if (!counted) name_gates_[gate].entries.begin(clock_);
        put(tag, name.parent, XF_CHILD_BUSY, false);
    }
}

void Records::end_names(const Change& change) {
    for (std::size_t i = 0; i < change.names.size(); ++i) {
        if (!can_be_known(change.names[i])) continue;
        const std::size_t gate = name_gate(prepared_tag(change, i));
        const bool counted =
            i == 1 && can_be_known(change.names[0]) && name_gate(prepared_tag(change, 0)) == gate;
        const std::lock_guard lock(name_gates_[gate].mutex);
        if (!counted) name_gates_[gate].entries.end(clock_);
    }
}

bool Records::publish_entry(const Name& name, NodeId child, Token token, const Change* within) {
    if (!can_be_known(name)) return false;
    const xf_tag tag = tag_of(name);
    const std::size_t at = name_gate(tag);
    // A child without a record is one that the daemon answers.
    std::uint64_t shown = XF_CHILD_ABSENT;
    if (child != 0) shown = slot_of(child) != nullptr ? child : XF_CHILD_BUSY;
    const std::lock_guard lock(name_gates_[at].mutex);
    if (!name_gates_[at].entries.admits(token, own_name(within, at))) return false;
    put(tag, name.parent, shown, child == core::MetadataSink::kUnknownNode);
    return true;
}

// The way of that name, or one that it can take: a free one, one of a directory that is gone, or
// any but a BUSY one, which would be taken again soon.
std::size_t Records::way_for(xf_bucket& bucket, const xf_tag& tag, NodeId parent) const {
    std::size_t unused = XF_WAYS, any = XF_WAYS;
    const std::size_t hand = get(version_of(bucket)) / 2;  // another one each time
    for (std::size_t i = 0; i < XF_WAYS; ++i) {
        const std::size_t at = (hand + i) % XF_WAYS;
        __u64* way = way_of(bucket, at);
        const NodeId of = get(way[kParent]);
        if (of == parent && get(way[kTagLo]) == tag.lo && get(way[kTagHi]) == tag.hi) return at;
        const bool has_record = xf_slot(of) < nodes_.size();
        if (of == 0 || (has_record && slot_of(of) == nullptr)) unused = at;
        if (any == XF_WAYS && get(way[kChild]) != XF_CHILD_BUSY) any = at;
    }
    if (unused != XF_WAYS) return unused;
    return any != XF_WAYS ? any : hand % XF_WAYS;
}

// `keep`: what is known of the name already is as good. LOCKS: the gate of the name.
void Records::put(const xf_tag& tag, NodeId parent, std::uint64_t child, bool keep) {
    xf_bucket& bucket = buckets_[bucket_of(tag)];
    __u64* way = way_of(bucket, way_for(bucket, tag, parent));
    const NodeId of = get(way[kParent]);
    const bool same = of == parent && get(way[kTagLo]) == tag.lo && get(way[kTagHi]) == tag.hi;
    if (same && (keep || get(way[kChild]) == child)) return;
    // First, so that nobody takes the name that goes for one that does not exist.
    if (!same && of != 0) make_incomplete(of);
    const xf_way image{parent, tag, child};
    close_version(version_of(bucket));
    store_words(way, &image, kWayWords);
    open_version(version_of(bucket));
}

void Records::make_incomplete(NodeId directory) {
    if (slot_of(directory) != nullptr) make_version_incomplete(record(directory));
}

std::uint64_t Records::directory_version(NodeId node) const {
    if (slot_of(node) == nullptr) return 0;
    return Word(directory_version_of(record(node))).load(std::memory_order_acquire);
}

void Records::publish_complete(NodeId node, std::uint64_t ino, std::uint64_t seen, Token token,
                               const Change* within) {
    const std::size_t at = inode_gate(ino);
    InodeGate& gate = inode_gates_[at];
    const std::lock_guard lock(gate.mutex);
    Slot* slot = slot_of(node);
    if (slot == nullptr || slot->ino.load(std::memory_order_relaxed) != ino) return;
    // Any change of names in it is a change of the directory.
    if (!is_closed(seen) || slot->barred || !gate.attrs.admits(token, own(within, at))) return;
    // Fails where a way was evicted since: its name is not in the table any more.
    __u64 expected = seen;
    Word(directory_version_of(record(node)))
        .compare_exchange_strong(expected, seen + 1, std::memory_order_acq_rel);
}

void Records::wipe_names() {
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
        const std::lock_guard lock(name_gates_[i & (name_gates_.size() - 1)].mutex);
        close_version(version_of(buckets_[i]));
        clear_words(way_of(buckets_[i], 0), XF_WAYS * kWayWords);
        open_version(version_of(buckets_[i]));
    }
}

std::size_t Records::names_known() const {
    std::size_t known = 0;
    for (auto& bucket : buckets_) {
        for (std::size_t i = 0; i < XF_WAYS; ++i) known += get(way_of(bucket, i)[kParent]) != 0;
    }
    return known;
}

}  // namespace extencfs::meta
