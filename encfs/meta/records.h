// SPDX-License-Identifier: Apache-2.0
// The records in mapped memory that BPF programs answer from, and the daemon's protocol over them:
// what may be published and when, what a change closes, when a node is gone. Layouts: bpf/abi.h.
// Knows nothing of BPF objects (it works on any memory), of FUSE, or of the lower file system.
// The protocol is modelled in tests/model/coherence; core/metadata_sink.h is its contract towards
// core.
//
// What holds, and why:
//  - A published record equals the lower state. A change closes it (and ticks the gate) before its
//    first lower call; it is opened only with a token that the gate admits, under the gate's mutex.
//  - Gates are by lower inode, not by node: an inode that becomes a node during a change, under
//    another name too, meets the same gate. The gate knows its nodes, so that closing the gate and
//    closing the records is one step under its mutex.
//  - references(kernel) = counted by core + ref.count - given back, while ref is alive: readers
//    count before they hand out, by compare-and-swap on the word by which a node is retired.
//  - A directory's dir_ver is even only if every name that exists has a way: a change takes a way
//    for its name before its first lower call, and an eviction makes dir_ver odd before the way is
//    reused. Every eviction changes dir_ver, so that a pass that saw it before does not make it
//    even.
//
// THREADS: any, in parallel; adopt, bar, take_served and try_retire one at a time (core: under the
// node table's mutex).
// LOCKS: one gate's mutex at a time, the innermost of all, over no system call.
#pragma once

#include <sys/stat.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "bpf/abi.h"
#include "encfs/core/metadata_sink.h"
#include "encfs/meta/gates.h"

namespace extencfs::meta {

using core::NodeId;

struct RecordSettings {
    std::array<std::uint64_t, 2> tag_key{};  // xf_config.tag_key
    // How long the kernel may keep attributes; 0 for inodes that ever had two links: the kernel
    // counts a link down by itself after an unlink, whatever it was told meanwhile.
    std::uint64_t attr_valid_s = 0;
    std::uint32_t attr_valid_nsec = 0;
    // XF_XATTR_* bits of attributes that no file has, ever.
    std::uint64_t always_absent = 0;
};

class Records {
  public:
    using Change = core::MetadataSink::Change;
    using Name = core::MetadataSink::Name;

    // The memory stays the caller's, and is nobody else's to write but for the reference words.
    // REQUIRES: at least 2 nodes; buckets a power of two.
    Records(std::span<xf_node> nodes, std::span<xf_bucket> buckets, const RecordSettings& settings);
    ~Records();
    Records(const Records&) = delete;
    Records& operator=(const Records&) = delete;

    Token token() const { return clock_.now(); }

    // ---- changes ----
    void begin_change(Change& change);
    void end_change(const Change& change);

    // ---- publishing; `within`: the publisher's own change, or nullptr ----
    void publish_attr(NodeId node, const struct stat& attr, Token token, const Change* within);
    // False where the gate does not admit it.
    bool publish_entry(const Name& name, NodeId child, Token token, const Change* within);
    // `bits`: XF_XATTR_*, known absent beside those that are.
    void publish_xattrs(NodeId node, std::uint64_t ino, std::uint64_t bits, Token token);
    // A directory's version as a pass over it begins: after the pass's token, before its first
    // look.
    std::uint64_t directory_version(NodeId node) const;
    // The pass found a way for every name. `seen`: directory_version() then.
    void publish_complete(NodeId node, std::uint64_t ino, std::uint64_t seen, Token token,
                          const Change* within);

    // ---- nodes ----
    void adopt(NodeId node, std::uint64_t ino);
    void bar(NodeId node);
    std::uint64_t take_served(NodeId node);
    bool try_retire(NodeId node, std::uint64_t owed);

    // What the kernel got from readers and take_served() did not fold yet.
    std::uint64_t served(NodeId node) const;

    // Closes and overwrites everything. Nodes are forgotten.
    void wipe();

    // Ways in use, by a walk over all of them.
    std::size_t names_known() const;

  private:
    struct Slot;
    struct InodeGate;
    struct NameGate;

    Slot* slot_of(NodeId node) const;
    xf_node& record(NodeId node) const { return nodes_[xf_slot(node)]; }
    std::size_t inode_gate(std::uint64_t ino) const;
    bool touches_first(const Change& change, std::size_t index) const;
    unsigned own(const Change* within, std::size_t gate) const;
    void close_nodes(InodeGate& gate, std::uint64_t ino, bool xattrs);
    void write_xattrs(xf_node& node, std::uint64_t bits);
    void unlink_slot(InodeGate& gate, std::uint32_t slot);

    xf_tag tag_of(const Name& name) const;
    xf_tag prepared_tag(const Change& change, std::size_t index) const;
    std::size_t bucket_of(const xf_tag& tag) const { return tag.lo & (buckets_.size() - 1); }
    std::size_t name_gate(const xf_tag& tag) const;
    void begin_names(Change& change);
    void end_names(const Change& change);
    void wipe_names();
    unsigned own_name(const Change* within, std::size_t gate) const;
    void put(const xf_tag& tag, NodeId parent, std::uint64_t child, bool keep);
    std::size_t way_for(xf_bucket& bucket, const xf_tag& tag, NodeId parent) const;
    void make_incomplete(NodeId directory);

    const std::span<xf_node> nodes_;
    const std::span<xf_bucket> buckets_;
    const RecordSettings settings_;
    Clock clock_;
    std::unique_ptr<Slot[]> slots_;
    std::vector<InodeGate> inode_gates_;  // a power of two
    std::vector<NameGate> name_gates_;    // likewise
};

}  // namespace extencfs::meta
