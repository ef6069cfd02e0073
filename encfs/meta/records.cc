// SPDX-License-Identifier: Apache-2.0
// Nodes: attributes, extended attributes, references. Names are in records_names.cc.
#include "encfs/meta/records.h"

#include <algorithm>
#include <bit>

#include "encfs/meta/mapped_words.h"
#include "encfs/meta/records_private.h"

namespace extencfs::meta {

namespace {

constexpr std::size_t kFewestGates = 1024;
constexpr std::size_t kNodesPerGate = 4;
constexpr std::size_t kBucketsPerGate = 4;
// Words of the attribute block behind its version: node id, attributes, btime.
constexpr std::size_t kAttrBegin = offsetof(xf_node, nodeid) / sizeof(__u64);
constexpr std::size_t kAttrWords = offsetof(xf_node, xattr_ver) / sizeof(__u64) - kAttrBegin;
// The served count is folded into core's long before it is full.
constexpr std::uint32_t kManyServed = 1U << 31;

xf_attr attr_of(const struct stat& is) {
    xf_attr out{};
    out.ino = is.st_ino;
    out.size = static_cast<__u64>(is.st_size);
    out.blocks = static_cast<__u64>(is.st_blocks);
    out.atime = static_cast<__u64>(is.st_atim.tv_sec);
    out.mtime = static_cast<__u64>(is.st_mtim.tv_sec);
    out.ctime = static_cast<__u64>(is.st_ctim.tv_sec);
    out.atimensec = static_cast<__u32>(is.st_atim.tv_nsec);
    out.mtimensec = static_cast<__u32>(is.st_mtim.tv_nsec);
    out.ctimensec = static_cast<__u32>(is.st_ctim.tv_nsec);
    out.mode = is.st_mode;
    out.nlink = static_cast<__u32>(is.st_nlink);
    out.uid = is.st_uid;
    out.gid = is.st_gid;
    out.rdev = static_cast<__u32>(is.st_rdev);
    out.blksize = static_cast<__u32>(is.st_blksize);
    return out;
}

__u64& attr_version(xf_node& node) {
    return words_of(node)[offsetof(xf_node, attr_ver) / 8];
}
__u64& xattr_version(xf_node& node) {
    return words_of(node)[offsetof(xf_node, xattr_ver) / 8];
}
__u64& xattr_bits(xf_node& node) {
    return words_of(node)[offsetof(xf_node, xattr_absent) / 8];
}
__u64& reference(xf_node& node) {
    return words_of(node)[offsetof(xf_node, ref) / 8];
}

}  // namespace

Records::Records(std::span<xf_node> nodes, std::span<xf_bucket> buckets,
                 const RecordSettings& settings)
    : nodes_(nodes),
      buckets_(buckets),
      settings_(settings),
      slots_(std::make_unique<Slot[]>(nodes.size())),
      inode_gates_(std::bit_ceil(std::max(kFewestGates, nodes.size() / kNodesPerGate))),
      name_gates_(std::bit_ceil(std::max<std::size_t>(1, buckets.size() / kBucketsPerGate))) {}

Records::~Records() = default;

Records::Slot* Records::slot_of(NodeId node) const {
    const std::uint32_t slot = xf_slot(node);
    if (slot == 0 || slot >= nodes_.size()) return nullptr;
    return slots_[slot].owner.load(std::memory_order_relaxed) == node ? &slots_[slot] : nullptr;
}

std::size_t Records::inode_gate(std::uint64_t ino) const {
    return (ino * 0x9E3779B97F4A7C15ull >> 32) & (inode_gates_.size() - 1);
}

// ---- changes ----

// Whether inodes[index] is the first one of the change at its gate, which counts a change once.
bool Records::touches_first(const Change& change, std::size_t index) const {
    const std::size_t gate = inode_gate(change.inodes[index]);
    for (std::size_t i = 0; i < index; ++i) {
        if (change.inodes[i] != 0 && inode_gate(change.inodes[i]) == gate) return false;
    }
    return true;
}

// Changes at the gate that are the publisher's own.
unsigned Records::own(const Change* within, std::size_t gate) const {
    if (within == nullptr) return 0;
    return std::ranges::any_of(
        within->inodes, [&](std::uint64_t ino) { return ino != 0 && inode_gate(ino) == gate; });
}

void Records::close_nodes(InodeGate& gate, std::uint64_t ino, bool xattrs) {
    for (std::uint32_t at = gate.first; at != 0; at = slots_[at].next) {
        if (slots_[at].ino.load(std::memory_order_relaxed) != ino) continue;
        close_version(attr_version(nodes_[at]));
        if (xattrs && !slots_[at].barred) write_xattrs(nodes_[at], settings_.always_absent);
    }
}

void Records::begin_change(Change& change) {
    for (std::size_t i = 0; i < change.inodes.size(); ++i) {
        const std::uint64_t ino = change.inodes[i];
        if (ino == 0) continue;
        InodeGate& gate = inode_gates_[inode_gate(ino)];
        const bool xattrs = change.xattrs && i == 0;
        const std::lock_guard lock(gate.mutex);
        if (touches_first(change, i)) gate.attrs.begin(clock_);
        if (xattrs) gate.xattrs.begin(clock_);
        close_nodes(gate, ino, xattrs);
    }
    // Names after their directories: from here on no pass makes those complete.
    begin_names(change);
}

void Records::end_change(const Change& change) {
    end_names(change);
    for (std::size_t i = 0; i < change.inodes.size(); ++i) {
        if (change.inodes[i] == 0) continue;
        InodeGate& gate = inode_gates_[inode_gate(change.inodes[i])];
        const std::lock_guard lock(gate.mutex);
        if (touches_first(change, i)) gate.attrs.end(clock_);
        if (change.xattrs && i == 0) gate.xattrs.end(clock_);
    }
}

// ---- publishing ----

void Records::publish_attr(NodeId node, const struct stat& attr, Token token,
                           const Change* within) {
    const std::size_t at = inode_gate(attr.st_ino);
    InodeGate& gate = inode_gates_[at];
    const std::lock_guard lock(gate.mutex);
    Slot* slot = slot_of(node);
    if (slot == nullptr || slot->ino.load(std::memory_order_relaxed) != attr.st_ino) return;
    // Also of what is too old to be published: it was so once.
    slot->linked = slot->linked || (attr.st_nlink > 1 && !S_ISDIR(attr.st_mode));
    if (slot->barred || !gate.attrs.admits(token, own(within, at))) return;
    xf_node image{};
    image.nodeid = node;
    image.attr = attr_of(attr);
    if (!slot->linked) {
        image.attr_valid = settings_.attr_valid_s;
        image.attr_valid_nsec = settings_.attr_valid_nsec;
    }
    xf_node& to = record(node);
    close_version(attr_version(to));
    store_words(words_of(to) + kAttrBegin, &image.nodeid, kAttrWords);
    open_version(attr_version(to));
}

void Records::write_xattrs(xf_node& node, std::uint64_t bits) {
    close_version(xattr_version(node));
    Word(xattr_bits(node)).store(bits, std::memory_order_release);
    open_version(xattr_version(node));
}

void Records::publish_xattrs(NodeId node, std::uint64_t ino, std::uint64_t bits, Token token) {
    InodeGate& gate = inode_gates_[inode_gate(ino)];
    const std::lock_guard lock(gate.mutex);
    Slot* slot = slot_of(node);
    if (slot == nullptr || slot->ino.load(std::memory_order_relaxed) != ino) return;
    if (slot->barred || !gate.xattrs.admits(token, 0)) return;
    xf_node& to = record(node);
    // Invariant: what is there is true, too: a change would have taken it away.
    const std::uint64_t known = Word(xattr_bits(to)).load(std::memory_order_relaxed);
    if ((known & bits) != bits) write_xattrs(to, known | bits);
}

// ---- nodes ----

void Records::adopt(NodeId node, std::uint64_t ino) {
    const std::uint32_t at = xf_slot(node);
    if (at == 0 || at >= nodes_.size()) return;
    InodeGate& gate = inode_gates_[inode_gate(ino)];
    const std::lock_guard lock(gate.mutex);
    xf_node& to = nodes_[at];
    // All three are odd while the id and the word change (abi.h). Nobody has this id yet.
    close_version(attr_version(to));
    close_version(xattr_version(to));
    make_version_incomplete(to);
    Word(words_of(to)[kAttrBegin]).store(node, std::memory_order_release);
    Word(reference(to)).exchange(xf_ref_alive(node), std::memory_order_acq_rel);
    write_xattrs(to, settings_.always_absent);
    Slot& slot = slots_[at];
    slot.ino.store(ino, std::memory_order_relaxed);
    slot.linked = slot.barred = false;
    slot.next = gate.first;
    gate.first = at;
    slot.owner.store(node, std::memory_order_relaxed);
}

void Records::bar(NodeId node) {
    Slot* slot = slot_of(node);
    if (slot == nullptr) return;
    InodeGate& gate = inode_gates_[inode_gate(slot->ino.load(std::memory_order_relaxed))];
    const std::lock_guard lock(gate.mutex);
    slot->barred = true;
    close_version(attr_version(record(node)));
    close_version(xattr_version(record(node)));
}

std::uint64_t Records::take_served(NodeId node) {
    if (slot_of(node) == nullptr) return 0;
    Word word(reference(record(node)));
    __u64 seen = word.load(std::memory_order_relaxed);
    while (xf_ref_count(seen) >= kManyServed) {
        if (word.compare_exchange_weak(seen, seen & ~XF_REF_COUNT_MASK, std::memory_order_acq_rel))
            return xf_ref_count(seen);
    }
    return 0;
}

std::uint64_t Records::served(NodeId node) const {
    if (slot_of(node) == nullptr) return 0;
    return xf_ref_count(Word(reference(record(node))).load(std::memory_order_relaxed));
}

bool Records::try_retire(NodeId node, std::uint64_t owed) {
    Slot* slot = slot_of(node);
    if (slot == nullptr) return true;  // never handed out by anybody but core
    xf_node& from = record(node);
    __u64 alive = xf_ref_alive(node) | owed;
    // Whoever counts one more, does so on the same word: before, and this fails, or never.
    if (owed > XF_REF_COUNT_MASK ||
        !Word(reference(from))
             .compare_exchange_strong(alive, alive & ~(XF_REF_ALIVE | XF_REF_COUNT_MASK),
                                      std::memory_order_acq_rel))
        return false;
    InodeGate& gate = inode_gates_[inode_gate(slot->ino.load(std::memory_order_relaxed))];
    const std::lock_guard lock(gate.mutex);
    close_version(attr_version(from));
    close_version(xattr_version(from));
    make_version_incomplete(from);
    clear_words(words_of(from) + kAttrBegin, kAttrWords);
    Word(xattr_bits(from)).store(0, std::memory_order_release);
    unlink_slot(gate, xf_slot(node));
    slot->owner.store(0, std::memory_order_relaxed);
    return true;
}

void Records::unlink_slot(InodeGate& gate, std::uint32_t slot) {
    std::uint32_t* link = &gate.first;
    while (*link != slot) link = &slots_[*link].next;
    *link = slots_[slot].next;
    slots_[slot].next = 0;
}

void Records::wipe() {
    for (std::uint32_t at = 1; at < nodes_.size(); ++at) {
        const NodeId node = slots_[at].owner.load(std::memory_order_relaxed);
        if (node == 0) continue;
        Word word(reference(nodes_[at]));
        __u64 seen = word.load(std::memory_order_relaxed);
        while (!try_retire(node, xf_ref_count(seen))) seen = word.load(std::memory_order_relaxed);
    }
    wipe_names();
}

}  // namespace extencfs::meta
