// SPDX-License-Identifier: Apache-2.0
// A sink that holds core to its contract: beside a CheckedLower, which tells it of every lower
// call, it notes each one that changes something not closed, and each publication whose token was
// taken after the look, or before the change, that it tells of. THREADS: any.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "encfs/core/metadata_sink.h"
#include "tests/unit/core/checked_lower.h"

namespace extencfs::core {

class RecordingSink final : public MetadataSink, public LowerWatch {
  public:
    // What changes closed so far.
    struct Closed {
        std::vector<std::uint64_t> inodes;
        std::vector<std::pair<NodeId, std::string>> names;
        bool xattrs = false;
    };

    // ---- the sink ----
    bool listens() const override { return true; }
    Token token() const override {
        const std::lock_guard lock(mutex_);
        return ++clock_;  // so that each one is later than all before it
    }
    void publish_attr(NodeId node, const struct stat& attr, Token token,
                      const Change* within) override {
        const std::lock_guard lock(mutex_);
        // A change may tell of a node that it holds no reference to, and that goes meanwhile.
        if (within == nullptr && node_of_ino(attr.st_ino) == 0 && !nodes_.contains(node))
            fault("a node that is gone");
        check_token("attributes", attr.st_ino, token, within != nullptr);
        ++published_attrs[node];
        published_sizes[node] = attr.st_size;
    }
    void publish_entry(const Name& name, NodeId child, Token token, const Change* within) override {
        const std::lock_guard lock(mutex_);
        check_entry(name, token, within);
        entries[{name.parent, std::string(name.name)}] = child;
    }
    void publish_xattr(NodeId node, std::uint64_t ino, XattrFact fact, std::string_view name,
                       Token token) override {
        const std::lock_guard lock(mutex_);
        if (!(token < looks().xattrs[ino])) fault("an attribute's token is late");
        xattr_facts.emplace_back(node, fact, std::string(name));
    }
    void begin_change(Change& change) override {
        const std::lock_guard lock(mutex_);
        ++clock_;
        for (const auto ino : change.inodes)
            if (ino != 0) ++closed_inodes_[ino], history.inodes.push_back(ino);
        for (const auto& name : change.names) {
            if (name.parent == 0) continue;
            ++closed_names_[{name.parent, std::string(name.name)}];
            ++closed_names_in_[name.parent];
            history.names.emplace_back(name.parent, name.name);
        }
        if (change.xattrs) ++closed_xattrs_[change.inodes[0]], history.xattrs = true;
    }
    void end_change(const Change& change) override {
        const std::lock_guard lock(mutex_);
        ++clock_;
        for (const auto ino : change.inodes)
            if (ino != 0) --closed_inodes_[ino];
        for (const auto& name : change.names) {
            if (name.parent == 0) continue;
            --closed_names_[{name.parent, std::string(name.name)}];
            --closed_names_in_[name.parent];
        }
        if (change.xattrs) --closed_xattrs_[change.inodes[0]];
    }
    void directory_is_empty(NodeId directory, std::uint64_t, Token, const Change*) override {
        const std::lock_guard lock(mutex_);
        complete.push_back(directory);
    }
    Listing listing_begins(NodeId, std::uint64_t, Token) override { return 1; }
    void entry_listed(Listing, const Name& name, NodeId child, Token token) override {
        const std::lock_guard lock(mutex_);
        // Read by the listing itself, or by a look at the entry.
        if (child != kUnknownNode) check_entry(name, token, nullptr);
    }
    void listing_spoilt(Listing, NodeId directory) override {
        const std::lock_guard lock(mutex_);
        spoilt.push_back(directory);
    }
    void listing_ends(Listing, NodeId directory, std::uint64_t ino, std::uint64_t,
                      bool at_end) override {
        const std::lock_guard lock(mutex_);
        if (nodes_[directory] != ino) fault("a listing of another inode");
        if (at_end) complete.push_back(directory);
    }
    void node_made(NodeId node, std::uint64_t ino) override {
        const std::lock_guard lock(mutex_);
        if (nodes_.contains(node)) fault("a node is made twice");
        if (ever_.contains(node)) fault("an id comes again");
        ever_[node] = true;
        nodes_[node] = ino;
        ++nodes_of_[ino];
    }
    void bar(NodeId) override {}
    std::uint64_t take_served(NodeId) override { return 0; }
    bool try_retire(NodeId node, std::uint64_t owed) override {
        const std::lock_guard lock(mutex_);
        if (owed != 0) fault("more references came back than were handed out");
        if (!nodes_.contains(node)) fault("a node goes twice");
        --nodes_of_[nodes_[node]];
        nodes_.erase(node);
        return true;
    }
    void end() override { ended = true; }

    // ---- the lower file system (CheckedLower) ----
    void looks_at(std::uint64_t ino) override {
        const std::lock_guard lock(mutex_);
        looks().inodes[ino] = ++clock_;
    }
    void looks_into(std::uint64_t directory_ino) override {
        const std::lock_guard lock(mutex_);
        looks().names[directory_ino] = ++clock_;
    }
    void looks_at_xattrs(std::uint64_t ino) override {
        const std::lock_guard lock(mutex_);
        looks().xattrs[ino] = ++clock_;
    }
    void changes(const char* call, std::uint64_t ino) override {
        const std::lock_guard lock(mutex_);
        if (nodes_of_[ino] > 0 && closed_inodes_[ino] == 0)
            fault(std::string(call) + " of an inode that is not closed");
        looks().changes[ino] = ++clock_;
    }
    void changes_name(const char* call, std::uint64_t directory_ino) override {
        const std::lock_guard lock(mutex_);
        const NodeId directory = node_of_ino(directory_ino);
        if (directory != 0 && closed_names_in_[directory] == 0)
            fault(std::string(call) + " of a name that is not closed");
    }
    void changed(std::uint64_t) override {}
    void changes_xattrs(const char* call, std::uint64_t ino) override {
        const std::lock_guard lock(mutex_);
        if (nodes_of_[ino] > 0 && closed_xattrs_[ino] == 0)
            fault(std::string(call) + " of attributes that are not closed");
    }

    // ---- the test ----
    std::string faults() const {
        const std::lock_guard lock(mutex_);
        std::string all;
        for (const auto& [what, count] : faults_)
            all += what + " (" + std::to_string(count) + ")\n";
        return all;
    }
    std::size_t nodes() const {
        const std::lock_guard lock(mutex_);
        return nodes_.size();
    }
    bool all_open() const {
        const std::lock_guard lock(mutex_);
        for (const auto& [ino, count] : closed_inodes_)
            if (count != 0) return false;
        for (const auto& [name, count] : closed_names_)
            if (count != 0) return false;
        return true;
    }
    Closed history;
    std::map<NodeId, int> published_attrs;
    std::map<NodeId, off_t> published_sizes;
    std::map<std::pair<NodeId, std::string>, NodeId> entries;
    std::vector<std::tuple<NodeId, XattrFact, std::string>> xattr_facts;
    std::vector<NodeId> complete, spoilt;
    bool ended = false;

  private:
    // When this thread last looked at, or changed, an inode.
    struct Looks {
        const RecordingSink* of = nullptr;
        std::map<std::uint64_t, Token> inodes, names, xattrs, changes;
    };
    Looks& looks() const {
        static thread_local Looks mine;
        if (mine.of != this)
            mine = Looks{.of = this, .inodes = {}, .names = {}, .xattrs = {}, .changes = {}};
        return mine;
    }
    void fault(const std::string& what) { ++faults_[what]; }
    NodeId node_of_ino(std::uint64_t ino) const {
        for (const auto& [node, of] : nodes_)
            if (of == ino) return node;
        return 0;
    }
    void check_token(const std::string& what, std::uint64_t ino, Token token, bool within) {
        if (!(token < looks().inodes[ino])) fault("the token of " + what + " is late");
        if (looks().changes[ino] > token) fault(what + " were changed again by their own thread");
        if (within && closed_inodes_[ino] == 0) fault(what + " published within no change of them");
    }
    void check_entry(const Name& name, Token token, const Change* within) {
        const auto ino = nodes_[name.parent];
        const std::pair<NodeId, std::string> key{name.parent, name.name};
        if (within == nullptr && !(token < looks().names[ino])) fault("an entry's token is late");
        if (within != nullptr && looks().changes[ino] > token) fault("an entry's token is early");
        if (within != nullptr && closed_names_[key] == 0)
            fault("an entry published within no change of it");
    }

    mutable std::mutex mutex_;
    mutable Token clock_ = 0;
    std::map<std::uint64_t, int> closed_inodes_, closed_xattrs_, nodes_of_;
    std::map<std::pair<NodeId, std::string>, int> closed_names_;
    std::map<NodeId, int> closed_names_in_;
    std::map<NodeId, std::uint64_t> nodes_;
    std::map<NodeId, bool> ever_;
    std::map<std::string, int> faults_;
};

}  // namespace extencfs::core
