// SPDX-License-Identifier: Apache-2.0
// Where core tells what it knows of names and attributes, so that they can be answered elsewhere
// (maps that kernel programs read). The null sink drops all of it.
#pragma once

#include <cstdint>
#include <string_view>

#include "encfs/core/types.h"

namespace extencfs::core {

// Ordering contract. An answer published here may be given to applications at any later moment
// until the matching record is closed. Therefore:
//  - a reader takes a token BEFORE the lower call it reads with, and publishes with that token;
//    the sink drops the publication when any change of the record began in between;
//  - a change calls begin_change for every record it touches BEFORE its first lower call and
//    end_change after its last one and BEFORE the reply (in the same order for every thread; they
//    do not nest); between the two the records are closed: nothing is answered from them;
//  - forget comes after the node's last reference is gone.
// THREADS: any, in parallel. No member blocks on a system call or calls back into core.
class MetadataSink {
  public:
    using Token = std::uint64_t;

    // The records that one change touches. Unused ones are 0 or empty.
    struct Change {
        // Up to four inodes by lower inode number: a change can touch one that is no node yet.
        std::uint64_t inodes[4] = {0, 0, 0, 0};
        NodeId parents[2] = {0, 0};
        std::string_view names[2];
        bool xattrs = false;  // extended attributes of inodes[] change too
    };

    virtual ~MetadataSink() = default;

    virtual Token attr_token(std::uint64_t lower_ino) = 0;
    virtual void publish_attr(NodeId node, const struct stat& attr, Token token) = 0;
    virtual Token entry_token(NodeId parent, std::string_view name) = 0;
    // child 0: the name does not exist.
    virtual void publish_entry(NodeId parent, std::string_view name, NodeId child, Token token) = 0;
    virtual void begin_change(const Change& change) = 0;
    virtual void end_change(const Change& change) = 0;
    virtual void forget(NodeId node) = 0;
};

// Drops everything.
class NullSink final : public MetadataSink {
  public:
    Token attr_token(std::uint64_t) override { return 0; }
    void publish_attr(NodeId, const struct stat&, Token) override {}
    Token entry_token(NodeId, std::string_view) override { return 0; }
    void publish_entry(NodeId, std::string_view, NodeId, Token) override {}
    void begin_change(const Change&) override {}
    void end_change(const Change&) override {}
    void forget(NodeId) override {}
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

  private:
    MetadataSink& sink_;
    MetadataSink::Change change_;
};

}  // namespace extencfs::core
