// SPDX-License-Identifier: Apache-2.0
// The nodes that the kernel holds references to: which lower inode each is, and where it lies.
// Keeps no descriptors and makes no system calls. About 110 bytes a node, its lower name included.
//
// A node's id is generation (high 32 bits) || slot (low 32 bits) and never comes again: a slot
// whose generations are used up stays unused. Slots are reused, the last one freed first, so that
// they are few.
//
// References may also be handed out by the readers of a metadata sink, which count them themselves.
// A node is freed only when the sink agrees, in one step with its count, that as many were given
// back; until then its number of references here may be below zero.
//
// For the sake of these readers a node that the kernel knows no more is kept for a while, as many
// as the sink says (after memory pressure the same names are looked up again): the one that is idle
// for longest goes first. What has no name left is not kept.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "encfs/core/metadata_sink.h"
#include "encfs/core/types.h"
#include "encfs/core/volume_format.h"

namespace extencfs::core {

// Where a node lies: its parent and its lower name there.
struct Location {
    NodeId parent = 0;
    std::string entry;
};

// What the table knows of a node, copied out.
struct NodeView {
    NodeId id = 0;
    std::uint64_t ino = 0;
    mode_t type = 0;          // S_IFMT bits
    bool gone = false;        // no name is left
    bool distrusted = false;  // the kernel's size of it is wrong: nothing is served
    std::optional<Location> location;
    std::optional<DirContext> context;  // of a directory, once it was opened
};

// THREADS: any. LOCKS: one mutex of its own, over no system call; only the sink's are taken under
// it.
class InodeTable {
  public:
    // `sink` is told of every node that is made, and asked before one is freed; it outlives this.
    InodeTable(std::uint64_t root_ino, const DirContext& root_context, MetadataSink& sink);
    ~InodeTable();

    // The node of lower inode `ino`, found at `location`, made if need be; one more kernel
    // reference. A node of that number but another type is another file now: it is put aside.
    NodeId acquire(const Location& location, std::uint64_t ino, mode_t type);
    // One more reference to a node that is known already; false where it is not.
    bool hold(NodeId node);
    // The same for a file without a name (O_TMPFILE).
    NodeId acquire_nameless(std::uint64_t ino, mode_t type);
    // `count` kernel references fewer. Returns the nodes that went with it (parents follow).
    std::vector<NodeId> forget(NodeId node, std::uint64_t count);
    // Whether `count` are all the references that were handed out from here.
    bool is_last(NodeId node, std::uint64_t count) const;
    // All but the root; at unmount. Returns them.
    std::vector<NodeId> clear();

    std::optional<NodeView> view(NodeId node) const;
    // 0 where no node has that lower inode.
    NodeId find(std::uint64_t ino) const;
    // Known names of a node (one node may have several by hard links).
    std::size_t location_count(NodeId node) const;
    // Whether the node has, or ever had, several links; `now` says that it has.
    bool had_links(NodeId node, bool now);
    bool is_at(NodeId node, const Location& location) const;
    void set_context(NodeId node, const DirContext& context);
    void forget_context(NodeId node);
    // Those of other generations but the root's. Returns whose.
    std::vector<NodeId> forget_contexts_but(std::uint32_t generation);
    // Without those that are kept only because they may be handed out again. Walks over all if any
    // may be kept.
    std::size_t size() const;

    // The node has one more name.
    void add_location(NodeId node, const Location& location);
    // The name is not the node's any more. `last`: it was the last one below.
    void remove_location(NodeId node, const Location& location, bool last);
    void move(NodeId node, const Location& from, const Location& to);
    // The next acquire() of its lower inode makes a new node; this one is served nothing.
    void distrust(NodeId node);

  private:
    struct Node;
    using Slot = std::uint32_t;

    Node* at(NodeId node) const;
    Node& slot_at(Slot slot) const;
    NodeId id_of(Slot slot) const;
    Slot take_slot();
    void set_primary(Slot slot, const Location& location);
    void drop_primary(Slot slot, std::vector<NodeId>& freed);
    void free_if_unused(Slot slot, std::vector<NodeId>& freed);
    void retire_if_unused(Slot slot, std::vector<NodeId>& freed);
    bool worth_keeping(const Node& node) const;
    void trim_idle(std::vector<NodeId>& freed);
    void hash_insert(Slot slot);
    void hash_remove(Slot slot);
    Slot hash_find(std::uint64_t ino) const;
    NodeId make_node(std::uint64_t ino, mode_t type);
    void add_location_locked(Slot slot, const Location& location);

    static constexpr Slot kChunk = 4096;
    // The sink's readers tell generations apart by 31 bits.
    static constexpr std::uint32_t kLastGeneration = 0x7fffffff;
    MetadataSink& sink_;
    mutable std::mutex mutex_;
    std::vector<std::unique_ptr<Node[]>> chunks_;
    Slot next_slot_ = 1;
    Slot free_head_ = 0;
    std::size_t count_ = 0;
    const std::size_t kept_;     // at most so many nodes, if some of them are idle
    std::deque<NodeId> idle_;    // may be in use again, or gone: see Node::queued
    std::vector<Slot> buckets_;  // by lower inode number; power of two
    std::unordered_multimap<Slot, Location> more_locations_;
};

}  // namespace extencfs::core
