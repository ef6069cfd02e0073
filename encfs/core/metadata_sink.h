// SPDX-License-Identifier: Apache-2.0
// Where core tells what it knows of names and attributes, so that they can be answered elsewhere
// (records that kernel programs read), and asks whether a node is still handed out there. The null
// sink drops all of it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "encfs/core/types.h"

namespace extencfs::core {

// Ordering contract. An answer published here may be given to applications at any later moment
// until the matching record is closed. Therefore:
//  - a reader takes a token BEFORE the first lower call it reads with, and publishes with that
//    token; the sink drops the publication when a change of the record was under way then or began
//    since. One token is good for everything that is read after it, known by then or not.
//  - a change calls begin_change for every record that it touches BEFORE its first lower call, and
//    end_change after its last one and BEFORE the reply; between the two the records are closed:
//    nothing is answered from them. What the change knows to be true after its last lower call it
//    may publish itself, `within` the change, with a token taken after that call.
//  - changes may overlap and nest, also on one record: then none of them publishes it.
//  - a node is known from node_made() until try_retire() says yes; in between it may be handed out
//    by the sink's readers too, who count what they hand out. What is published of a node that is
//    not known is dropped: a change tells of nodes that it holds no reference to.
// THREADS: any, in parallel; node_made, bar, take_served and try_retire under the node table's
// mutex. No member does a system call or calls back into core.
class MetadataSink {
  public:
    using Token = std::uint64_t;

    struct Name {
        NodeId parent = 0;
        std::string_view name;
    };
    // The records that one change touches. Unused ones are 0 or empty.
    struct Change {
        // By lower inode number: a change can touch an inode that is no node yet. The directories
        // whose names change are among them.
        std::array<std::uint64_t, 6> inodes{};
        std::array<Name, 2> names{};
        bool xattrs = false;  // extended attributes of inodes[0] change too
        // The sink's own, from begin_change to end_change.
        std::array<std::uint64_t, 4> prepared{};
    };
    enum class XattrFact {
        kAbsent,  // this one is not there (ENODATA)
        kNone,    // none is there
    };

    virtual ~MetadataSink() = default;

    // Whether anybody reads what is published: if not, nothing need be looked up for it.
    virtual bool listens() const = 0;

    virtual Token token() const = 0;
    // `within`: the caller's own change that touches the record, or nullptr.
    // Attributes as they are told to the kernel, but for st_ino: the lower inode.
    virtual void publish_attr(NodeId node, const struct stat& attr, Token token,
                              const Change* within) = 0;
    // child 0: the name does not exist; kUnknownNode: it exists.
    virtual void publish_entry(const Name& name, NodeId child, Token token,
                               const Change* within) = 0;
    // `name` for kAbsent.
    virtual void publish_xattr(NodeId node, std::uint64_t lower_ino, XattrFact fact,
                               std::string_view name, Token token) = 0;
    static constexpr NodeId kUnknownNode = ~NodeId{0};

    virtual void begin_change(Change& change) = 0;
    virtual void end_change(const Change& change) = 0;

    // A directory was just made, and holds no names.
    virtual void directory_is_empty(NodeId directory, std::uint64_t lower_ino, Token token,
                                    const Change* within) = 0;
    // One request's part of a listing of `directory`, from `cookie` on (0: from the start).
    // `token`: from before its first lower call. Each entry that it comes by is told, whether or
    // not the caller takes it (child: its node, or kUnknownNode); then listing_ends.
    using Listing = std::uint64_t;
    virtual Listing listing_begins(NodeId directory, std::uint64_t cookie, Token token) = 0;
    virtual void entry_listed(Listing listing, const Name& name, NodeId child, Token token) = 0;
    // A name of the directory may exist that cannot be told: the listing proves nothing.
    virtual void listing_spoilt(Listing listing, NodeId directory) = 0;
    // The next part would begin at `cookie`. `complete`: there is nothing after it.
    virtual void listing_ends(Listing listing, NodeId directory, std::uint64_t lower_ino,
                              std::uint64_t cookie, bool complete) = 0;

    // ---- nodes ----
    virtual void node_made(NodeId node, std::uint64_t lower_ino) = 0;
    // Nothing is to be answered from this node any more.
    virtual void bar(NodeId node) = 0;
    // References that the sink's readers handed out and core has not counted; core counts them now.
    virtual std::uint64_t take_served(NodeId node) = 0;
    // The kernel gave `owed` references more than core counted. If that is exactly what the sink's
    // readers handed out, the node is retired: true. Otherwise some are still out, and come back.
    virtual bool try_retire(NodeId node, std::uint64_t owed) = 0;
    // The references that take_served() and try_retire() would speak of now.
    virtual std::uint64_t served(NodeId) const { return 0; }
    // So many nodes in all are worth keeping when the kernel has given all references back: the
    // sink's readers may hand them out again, which they cannot do once a node is retired. 0: none.
    virtual std::size_t worth_keeping() const { return 0; }
    // The mount is gone, and all nodes with it: nothing of it stays readable.
    virtual void end() = 0;
};

// Drops everything.
class NullSink : public MetadataSink {
  public:
    bool listens() const override { return false; }
    Token token() const override { return 0; }
    void publish_attr(NodeId, const struct stat&, Token, const Change*) override {}
    void publish_entry(const Name&, NodeId, Token, const Change*) override {}
    void publish_xattr(NodeId, std::uint64_t, XattrFact, std::string_view, Token) override {}
    void begin_change(Change&) override {}
    void end_change(const Change&) override {}
    void directory_is_empty(NodeId, std::uint64_t, Token, const Change*) override {}
    Listing listing_begins(NodeId, std::uint64_t, Token) override { return 0; }
    void entry_listed(Listing, const Name&, NodeId, Token) override {}
    void listing_spoilt(Listing, NodeId) override {}
    void listing_ends(Listing, NodeId, std::uint64_t, std::uint64_t, bool) override {}
    void node_made(NodeId, std::uint64_t) override {}
    void bar(NodeId) override {}
    std::uint64_t take_served(NodeId) override { return 0; }
    bool try_retire(NodeId, std::uint64_t) override { return true; }
    void end() override {}
};

// begin_change now, end_change at the end of the scope.
class ChangeScope {
  public:
    ChangeScope(MetadataSink& sink, const MetadataSink::Change& change)
        : sink_(sink), change_(change) {
        sink_.begin_change(change_);
    }
    ~ChangeScope() { sink_.end_change(change_); }
    ChangeScope(const ChangeScope&) = delete;
    ChangeScope& operator=(const ChangeScope&) = delete;

    const MetadataSink::Change* change() const { return &change_; }

  private:
    MetadataSink& sink_;
    MetadataSink::Change change_;
};

}  // namespace extencfs::core
