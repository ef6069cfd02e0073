// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/inode_table.h"

#include <sys/stat.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <utility>

using namespace extencfs::core;

namespace {

constexpr std::uint64_t kRootIno = 500;
NullSink no_sink;

Location in_root(std::string entry) {
    return {kRootNode, std::move(entry)};
}

bool has(const std::vector<NodeId>& list, NodeId node) {
    return std::ranges::find(list, node) != list.end();
}

// Its readers hand out what the test says.
class KeepingSink : public NullSink {
  public:
    explicit KeepingSink(std::size_t kept) : kept_(kept) {}
    std::size_t worth_keeping() const override { return kept_; }
    std::uint64_t served(NodeId node) const override {
        const auto found = handed_out.find(node);
        return found == handed_out.end() ? 0 : found->second;
    }
    bool try_retire(NodeId node, std::uint64_t owed) override {
        if (served(node) != owed) return false;
        handed_out.erase(node);
        return true;
    }
    std::uint64_t take_served(NodeId node) override { return std::exchange(handed_out[node], 0); }
    void bar(NodeId node) override { barred.push_back(node); }
    std::map<NodeId, std::uint64_t> handed_out;
    std::vector<NodeId> barred;

  private:
    std::size_t kept_;
};

}  // namespace

TEST_CASE("a node lives as long as its references") {
    InodeTable table(kRootIno, {}, no_sink);
    const NodeId a = table.acquire(in_root("a"), 7, S_IFREG);
    REQUIRE(a != 0);
    CHECK(table.acquire(in_root("a"), 7, S_IFREG) == a);
    CHECK(table.size() == 2);
    CHECK(table.find(7) == a);
    CHECK_FALSE(table.is_last(a, 1));
    CHECK(table.forget(a, 1).empty());
    CHECK(table.is_last(a, 1));
    CHECK(table.forget(a, 1) == std::vector{a});
    CHECK(table.size() == 1);
    CHECK(table.find(7) == 0);
    CHECK_FALSE(table.view(a));
    // Its slot is given out again, its number is not.
    const NodeId b = table.acquire(in_root("a"), 7, S_IFREG);
    CHECK(b != a);
    CHECK_FALSE(table.view(a));
    CHECK(table.forget(a, 1).empty());
    CHECK(table.view(b));
}

TEST_CASE("the root is never forgotten") {
    InodeTable table(kRootIno, {}, no_sink);
    CHECK(table.find(kRootIno) == kRootNode);
    CHECK(table.forget(kRootNode, 1000).empty());
    CHECK(table.view(kRootNode));
    CHECK_FALSE(table.view(0));
    CHECK_FALSE(table.view(~NodeId{0}));
}

TEST_CASE("a parent outlives what lies in it") {
    InodeTable table(kRootIno, {}, no_sink);
    const NodeId dir = table.acquire(in_root("d"), 8, S_IFDIR);
    const NodeId sub = table.acquire({dir, "s"}, 9, S_IFDIR);
    const NodeId file = table.acquire({sub, "f"}, 10, S_IFREG);
    CHECK(table.forget(dir, 1).empty());
    CHECK(table.forget(sub, 1).empty());
    CHECK(table.size() == 4);
    const auto freed = table.forget(file, 1);
    CHECK(freed.size() == 3);
    CHECK(has(freed, dir));
    CHECK(has(freed, sub));
    CHECK(has(freed, file));
    CHECK(table.size() == 1);
    CHECK(table.acquire({dir, "x"}, 11, S_IFREG) == 0);  // no such parent any more
}

TEST_CASE("a file with several names") {
    InodeTable table(kRootIno, {}, no_sink);
    const NodeId dir = table.acquire(in_root("d"), 8, S_IFDIR);
    const NodeId file = table.acquire(in_root("a"), 7, S_IFREG);
    CHECK(table.acquire({dir, "b"}, 7, S_IFREG) == file);
    table.add_location(file, in_root("c"));
    table.add_location(file, in_root("c"));
    CHECK(table.location_count(file) == 3);
    CHECK(table.is_at(file, {dir, "b"}));
    CHECK_FALSE(table.is_at(file, in_root("b")));
    table.remove_location(file, in_root("a"), false);
    CHECK(table.location_count(file) == 2);
    REQUIRE(table.view(file)->location);
    CHECK_FALSE(table.view(file)->gone);
    table.move(file, in_root("c"), in_root("e"));
    CHECK(table.is_at(file, in_root("e")));
    CHECK_FALSE(table.is_at(file, in_root("c")));
    table.remove_location(file, in_root("never"), false);
    CHECK(table.location_count(file) == 2);
    // The directory stays while a name lies in it, also one that is not the first.
    CHECK(table.forget(dir, 1).empty());
    const auto freed = table.forget(file, 2);
    CHECK(freed.size() == 2);
    CHECK(table.size() == 1);
}

TEST_CASE("a directory has one place") {
    InodeTable table(kRootIno, {}, no_sink);
    const NodeId a = table.acquire(in_root("a"), 7, S_IFDIR);
    const NodeId d = table.acquire({a, "d"}, 8, S_IFDIR);
    CHECK(table.acquire(in_root("d"), 8, S_IFDIR) == d);
    CHECK(table.location_count(d) == 1);
    CHECK(table.view(d)->location->parent == kRootNode);
    CHECK(table.forget(a, 1).size() == 1);  // nothing lies in it any more
}

TEST_CASE("what has no name left is a node of its own") {
    InodeTable table(kRootIno, {}, no_sink);
    const NodeId old = table.acquire(in_root("a"), 7, S_IFREG);
    table.remove_location(old, in_root("a"), true);
    CHECK(table.find(7) == 0);
    CHECK(table.location_count(old) == 0);
    CHECK(table.view(old)->gone);
    const NodeId other = table.acquire(in_root("b"), 7, S_IFREG);  // the number was given out anew
    CHECK(other != old);
    CHECK(table.find(7) == other);
    CHECK(table.forget(old, 1) == std::vector{old});
    CHECK(table.find(7) == other);

    const NodeId nameless = table.acquire_nameless(9, S_IFREG);
    CHECK(table.view(nameless)->gone);
    CHECK(table.find(9) == 0);
    table.add_location(nameless, in_root("n"));  // linkat of a file made with O_TMPFILE
    CHECK_FALSE(table.view(nameless)->gone);
    CHECK(table.acquire(in_root("n"), 9, S_IFREG) == nameless);
}

TEST_CASE("a lower inode of another type is another file") {
    InodeTable table(kRootIno, {}, no_sink);
    const NodeId file = table.acquire(in_root("a"), 7, S_IFREG | 0644);
    CHECK(table.view(file)->type == S_IFREG);
    const NodeId link = table.acquire(in_root("a"), 7, S_IFLNK);
    CHECK(link != file);
    CHECK(table.view(file)->gone);
    CHECK(table.find(7) == link);
}

TEST_CASE("a distrusted node is never found again") {
    InodeTable table(kRootIno, {}, no_sink);
    const NodeId old = table.acquire(in_root("a"), 7, S_IFREG);
    table.distrust(old);
    CHECK(table.view(old)->distrusted);
    const NodeId fresh = table.acquire(in_root("a"), 7, S_IFREG);
    CHECK(fresh != old);
    table.add_location(old, in_root("link"));
    CHECK(table.find(7) == fresh);
    CHECK(table.acquire(in_root("link"), 7, S_IFREG) == fresh);
}

TEST_CASE("a directory's context is kept with it") {
    InodeTable table(kRootIno, {.id = {}, .generation = 3}, no_sink);
    CHECK(table.view(kRootNode)->context->generation == 3);
    const NodeId d = table.acquire(in_root("d"), 8, S_IFDIR);
    CHECK_FALSE(table.view(d)->context);
    table.set_context(d, {.id = {}, .generation = 5});
    CHECK(table.view(d)->context->generation == 5);
}

TEST_CASE("many nodes are found and forgotten") {
    InodeTable table(kRootIno, {}, no_sink);
    constexpr std::uint64_t kMany = 50'000;
    std::vector<NodeId> nodes;
    for (std::uint64_t i = 0; i < kMany; ++i)
        nodes.push_back(table.acquire(in_root(std::to_string(i)), 1000 + i * 4096, S_IFREG));
    CHECK(table.size() == kMany + 1);
    bool all = true;
    for (std::uint64_t i = 0; i < kMany; ++i) all = all && table.find(1000 + i * 4096) == nodes[i];
    CHECK(all);
    CHECK(table.clear().size() == kMany);
    for (std::uint64_t i = 0; i < kMany; ++i) (void)table.forget(nodes[i], 1);
    CHECK(table.size() == 1);
}

namespace {

// The table's contract, kept in plain sets.
class TableModel {
  public:
    explicit TableModel(std::uint64_t seed) : random_(seed), table_(kRootIno, {}, no_sink) {
        nodes_[kRootNode] = {kRootIno, 1, S_IFDIR, {}};
    }

    void step() {
        const NodeId parent = any(true);
        const Location place{parent, std::string(1, static_cast<char>('a' + random_() % 6))};
        const NodeId node = any(false);
        switch (random_() % 6) {
            case 0:
            case 1:
                return acquire(place);
            case 2:
            case 3: {
                if (node == kRootNode) return;
                const std::uint64_t count = 1 + random_() % 2;
                (void)table_.forget(node, count);
                auto& refs = nodes_[node].references;
                refs -= std::min(count, refs);
                return collect();
            }
            case 4:
                if (node == kRootNode || S_ISDIR(nodes_[node].type)) return;
                table_.add_location(node, place);
                nodes_[node].places.insert({place.parent, place.entry});
                return;
            default: {
                auto& places = nodes_[node].places;
                if (places.size() < 2) return;
                const auto gone = *places.begin();
                table_.remove_location(node, {gone.first, gone.second}, false);
                places.erase(places.begin());
                return collect();
            }
        }
    }

    void check() const {
        REQUIRE(table_.size() == nodes_.size());
        for (const auto& [id, node] : nodes_) {
            REQUIRE(table_.find(node.ino) == id);
            REQUIRE(table_.location_count(id) == node.places.size());
            for (const auto& [parent, entry] : node.places)
                REQUIRE(table_.is_at(id, {parent, entry}));
            REQUIRE(table_.is_last(id, node.references));
            REQUIRE((node.references == 0 || !table_.is_last(id, node.references - 1)));
        }
    }

  private:
    struct Node {
        std::uint64_t ino;
        std::uint64_t references;
        mode_t type;
        std::set<std::pair<NodeId, std::string>> places;
    };

    NodeId any(bool directory) {
        std::vector<NodeId> ids;
        for (const auto& [id, node] : nodes_)
            if (!directory || (S_ISDIR(node.type) && node.references > 0)) ids.push_back(id);
        return ids[random_() % ids.size()];
    }

    void acquire(const Location& place) {
        // A third are directories; these are met at one place only.
        std::uint64_t ino = 1 + random_() % 30;
        const mode_t type = ino % 3 == 0 ? S_IFDIR : S_IFREG;
        for (const auto& [id, node] : nodes_)
            if (node.ino == ino && type == S_IFDIR) return;
        const NodeId id = table_.acquire(place, ino, type);
        auto& node = nodes_.try_emplace(id, Node{ino, 0, type, {}}).first->second;
        REQUIRE(node.ino == ino);
        ++node.references;
        node.places.insert({place.parent, place.entry});
    }

    // Nodes without references and without anything in them go, and so may their parents.
    void collect() {
        for (bool again = true; again;) {
            again = false;
            std::set<NodeId> needed{kRootNode};
            for (const auto& [id, node] : nodes_)
                for (const auto& place : node.places) needed.insert(place.first);
            again = std::erase_if(nodes_, [&](const auto& entry) {
                        return entry.second.references == 0 && !needed.contains(entry.first);
                    }) > 0;
        }
    }

    std::mt19937_64 random_;
    InodeTable table_;
    std::map<NodeId, Node> nodes_;
};

TEST_CASE("that a node had several links is remembered while it lives", "[inode_table]") {
    NullSink sink;
    InodeTable table(1, {}, sink);
    CHECK_FALSE(table.had_links(kRootNode, false));
    CHECK(table.had_links(kRootNode, true));
    CHECK(table.had_links(kRootNode, false));
    // Of one that is not known only what is said now.
    CHECK(table.had_links(0, true));
    CHECK_FALSE(table.had_links(0, false));
}

}  // namespace

TEST_CASE("random acquiring, linking and forgetting") {
    for (std::uint64_t seed = 1; seed <= 30; ++seed) {
        INFO("seed " << seed);
        TableModel model(seed);
        for (int i = 0; i < 400; ++i) {
            model.step();
            model.check();
        }
    }
}

TEST_CASE("a node that a reader may hand out again is kept for a while") {
    KeepingSink sink(3);  // the root and two more
    InodeTable table(kRootIno, {}, sink);
    const NodeId a = table.acquire(in_root("a"), 7, S_IFREG);
    CHECK(table.forget(a, 1).empty());
    CHECK(table.view(a));
    CHECK(table.size() == 1);  // nobody's
    SECTION("core hands it out again") {
        CHECK(table.acquire(in_root("a"), 7, S_IFREG) == a);
        CHECK(table.size() == 2);
    }
    SECTION("a reader hands it out, and it comes back") {
        sink.handed_out[a] = 2;
        CHECK(table.size() == 2);
        CHECK(table.forget(a, 1).empty());
        CHECK(table.size() == 2);
        CHECK(table.forget(a, 1).empty());
        CHECK(table.size() == 1);
        CHECK(table.view(a));
    }
    SECTION("it goes with its name") {
        REQUIRE(table.acquire(in_root("a"), 7, S_IFREG) == a);
        table.remove_location(a, in_root("a"), true);
        CHECK(table.forget(a, 1) == std::vector{a});
    }
    SECTION("it goes if it was distrusted") {
        REQUIRE(table.acquire(in_root("a"), 7, S_IFREG) == a);
        table.distrust(a);
        CHECK(table.forget(a, 1) == std::vector{a});
    }
    SECTION("the one that is idle for longest makes room") {
        const NodeId b = table.acquire(in_root("b"), 8, S_IFREG);
        CHECK(table.forget(b, 1).empty());
        const NodeId c = table.acquire(in_root("c"), 9, S_IFREG);
        CHECK(table.forget(c, 1) == std::vector{a});
        CHECK(table.view(b));
        CHECK(table.view(c));
    }
    SECTION("the one that a reader handed out is not idle") {
        sink.handed_out[a] = 1;
        const NodeId b = table.acquire(in_root("b"), 8, S_IFREG);
        const NodeId c = table.acquire(in_root("c"), 9, S_IFREG);
        CHECK(table.forget(b, 1) == std::vector{b});
        CHECK(table.view(a));
        CHECK(table.forget(a, 1).empty());
        CHECK(table.forget(c, 1).empty());
        CHECK(table.size() == 1);
    }
}

TEST_CASE("a directory is kept as long as what lies in it") {
    KeepingSink sink(3);
    InodeTable table(kRootIno, {}, sink);
    const NodeId dir = table.acquire(in_root("dir"), 7, S_IFDIR);
    const NodeId file = table.acquire({dir, "file"}, 8, S_IFREG);
    CHECK(table.forget(dir, 1).empty());
    CHECK(table.forget(file, 1).empty());
    CHECK(table.size() == 1);
    const NodeId more = table.acquire(in_root("more"), 9, S_IFREG);
    const NodeId last = table.acquire(in_root("last"), 10, S_IFREG);
    CHECK(table.forget(more, 1) == std::vector{file, more});  // the directory waits again
    CHECK(table.forget(last, 1).empty());
}

TEST_CASE("references that the sink's readers took are counted once") {
    KeepingSink sink(0);
    InodeTable table(kRootIno, {}, sink);
    const NodeId a = table.acquire(in_root("a"), 7, S_IFREG);
    sink.handed_out[a] = 3;
    // Folded into the table's own count by the next look at it.
    CHECK(table.acquire(in_root("a"), 7, S_IFREG) == a);
    CHECK(sink.served(a) == 0);
    sink.handed_out[a] = 2;
    CHECK(table.forget(a, 5).empty());  // of 7: the readers' last two are still out
    CHECK(table.forget(a, 1).empty());
    CHECK(table.find(7) == a);
    CHECK(table.forget(a, 1) == std::vector{a});
}

TEST_CASE("what must not be answered any more is barred") {
    KeepingSink sink(8);
    InodeTable table(kRootIno, {}, sink);
    const NodeId a = table.acquire(in_root("a"), 7, S_IFREG);
    const NodeId b = table.acquire(in_root("b"), 8, S_IFREG);
    CHECK(sink.barred.empty());
    table.distrust(a);
    CHECK(sink.barred == std::vector{a});
    CHECK(table.acquire(in_root("b"), 8, S_IFDIR) != b);
    CHECK(sink.barred == std::vector{a, b});
    // Nobody can come by them again: they are not kept.
    CHECK(has(table.forget(a, 1), a));
    CHECK(has(table.forget(b, 1), b));
}

TEST_CASE("a node without a name is not kept") {
    KeepingSink sink(8);
    InodeTable table(kRootIno, {}, sink);
    const NodeId a = table.acquire(in_root("a"), 7, S_IFREG);
    table.remove_location(a, in_root("a"), true);
    CHECK(table.forget(a, 1) == std::vector{a});
    // One of its two names went; the other is not known here.
    const NodeId b = table.acquire(in_root("b"), 8, S_IFREG);
    table.remove_location(b, in_root("b"), false);
    CHECK(table.forget(b, 1) == std::vector{b});
}
