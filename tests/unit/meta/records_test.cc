// SPDX-License-Identifier: Apache-2.0
// The protocol's rules, one by one, on one thread: what is published, what is dropped, what is
// gone.
#include "tests/unit/meta/records_fixture.h"

using namespace extencfs;
using namespace extencfs::meta;

TEST_CASE("what is published is read, and nothing before") {
    Fixture f;
    CHECK(f.size() == -1);
    f.publish(10);
    CHECK(f.size() == 10);
    xf_attr got{};
    std::uint64_t valid = 0;
    REQUIRE(f.reader.getattr(kNode, got, &valid));
    CHECK(valid == 1);
    CHECK(got.ino == kIno);
    CHECK(got.mode == (S_IFREG | 0644));
    CHECK(got.nlink == 1);
    CHECK(got.mtime == 10);
    CHECK(got.mtimensec == 5);
    // Of another generation of that slot: nothing.
    CHECK(f.size((NodeId{1} << 32) | kNode) == -1);
}

TEST_CASE("a change closes the record, and what was read before it is dropped") {
    Fixture f;
    f.publish(1);
    const auto token = f.records.token();
    Change change = change_of_inode();
    f.records.begin_change(change);
    CHECK(f.size() == -1);
    SECTION("during the change") {
        f.records.publish_attr(kNode, Fixture::attr(1), token, nullptr);
        CHECK(f.size() == -1);
        // Nor what is read meanwhile: it may be old or new.
        f.publish(1);
        CHECK(f.size() == -1);
        f.records.end_change(change);
    }
    SECTION("after the change") {
        const auto meanwhile = f.records.token();
        f.records.end_change(change);
        f.records.publish_attr(kNode, Fixture::attr(1), token, nullptr);
        CHECK(f.size() == -1);
        f.records.publish_attr(kNode, Fixture::attr(1), meanwhile, nullptr);
        CHECK(f.size() == -1);
    }
    CHECK(f.size() == -1);
    f.publish(2);
    CHECK(f.size() == 2);
}

TEST_CASE("a change publishes what it made, unless another one overlaps") {
    Fixture f;
    Change a = change_of_inode(), b = change_of_inode();
    const auto earlier = f.records.token();
    f.records.begin_change(a);
    SECTION("but not what it saw before it began") {
        f.records.publish_attr(kNode, Fixture::attr(3), earlier, &a);
        CHECK(f.size() == -1);
        f.records.end_change(a);
    }
    SECTION("alone") {
        f.records.publish_attr(kNode, Fixture::attr(3), f.records.token(), &a);
        CHECK(f.size() == 3);
        f.records.end_change(a);
        CHECK(f.size() == 3);
    }
    SECTION("the other one still under way") {
        f.records.begin_change(b);
        f.records.publish_attr(kNode, Fixture::attr(3), f.records.token(), &a);
        CHECK(f.size() == -1);
        f.records.end_change(a);
        f.records.end_change(b);
    }
    SECTION("nor within a change of something else") {
        Change other = change_of_inode(8);
        f.records.begin_change(other);
        f.records.publish_attr(kNode, Fixture::attr(3), f.records.token(), &other);
        CHECK(f.size() == -1);
        f.records.end_change(other);
        f.records.end_change(a);
    }
    SECTION("the other one over since the look") {
        const auto token = f.records.token();
        f.records.begin_change(b);
        f.records.end_change(b);
        f.records.publish_attr(kNode, Fixture::attr(3), token, &a);
        CHECK(f.size() == -1);
        f.records.end_change(a);
    }
    SECTION("and closed again by a later one") {
        f.records.publish_attr(kNode, Fixture::attr(3), f.records.token(), &a);
        f.records.begin_change(b);
        CHECK(f.size() == -1);
        f.records.end_change(b);
        f.records.end_change(a);
        CHECK(f.size() == -1);
    }
}

TEST_CASE("an inode that becomes a node during a change meets its gate") {
    Fixture f;
    constexpr std::uint64_t kLate = 9;
    const auto token = f.records.token();
    Change change = change_of_inode(kLate);
    f.records.begin_change(change);
    f.records.adopt(3, kLate);
    f.records.publish_attr(3, Fixture::attr(1, kLate), token, nullptr);
    CHECK(f.size(3) == -1);
    f.records.end_change(change);
    f.records.publish_attr(3, Fixture::attr(1, kLate), token, nullptr);
    CHECK(f.size(3) == -1);
    f.records.publish_attr(3, Fixture::attr(2, kLate), f.records.token(), nullptr);
    CHECK(f.size(3) == 2);
}

TEST_CASE("inodes that share a gate are counted once, and closed each") {
    Fixture f(64, 4096);
    // More inodes than gates: some share one.
    std::vector<std::uint64_t> inos;
    for (std::uint64_t ino = 1000; ino < 1000 + 3000; ++ino) inos.push_back(ino);
    for (std::size_t i = 0; i < inos.size(); ++i) {
        const NodeId node = 10 + i;
        f.records.adopt(node, inos[i]);
        f.records.publish_attr(node, Fixture::attr(1, inos[i]), f.records.token(), nullptr);
    }
    for (std::size_t i = 0; i + 1 < inos.size(); ++i) {
        Change change{.inodes = {inos[i], inos[i + 1], inos[i]}};
        f.records.begin_change(change);
        REQUIRE(f.size(10 + i) == -1);
        REQUIRE(f.size(11 + i) == -1);
        f.records.publish_attr(10 + i, Fixture::attr(2, inos[i]), f.records.token(), &change);
        REQUIRE(f.size(10 + i) == 2);
        f.records.end_change(change);
        f.records.publish_attr(11 + i, Fixture::attr(2, inos[i + 1]), f.records.token(), nullptr);
        REQUIRE(f.size(11 + i) == 2);
    }
}

TEST_CASE("an inode that ever had two links is kept by nobody") {
    Fixture f;
    std::uint64_t valid = 0;
    xf_attr got{};
    f.records.publish_attr(kNode, Fixture::attr(1, kIno, 2), f.records.token(), nullptr);
    f.publish(1);
    REQUIRE(f.reader.getattr(kNode, got, &valid));
    CHECK(got.nlink == 1);
    CHECK(valid == 0);
    // Also if that was told in the middle of a change, and so not published.
    Fixture g;
    Change change = change_of_inode();
    g.records.begin_change(change);
    g.records.publish_attr(kNode, Fixture::attr(1, kIno, 2), g.records.token(), nullptr);
    g.records.end_change(change);
    CHECK(g.size() == -1);
    g.publish(1);
    REQUIRE(g.reader.getattr(kNode, got, &valid));
    CHECK(valid == 0);
    // A directory's links are its subdirectories.
    struct stat directory = Fixture::attr(1, kRootIno, 3);
    directory.st_mode = S_IFDIR | 0755;
    g.records.publish_attr(core::kRootNode, directory, g.records.token(), nullptr);
    REQUIRE(g.reader.getattr(core::kRootNode, got, &valid));
    CHECK(valid == 1);
    // Nor is the slot's next node held to it.
    CHECK(g.records.try_retire(kNode, 0));
    const NodeId next = (NodeId{1} << 32) | kNode;
    g.records.adopt(next, 8);
    g.records.publish_attr(next, Fixture::attr(1, 8), g.records.token(), nullptr);
    REQUIRE(g.reader.getattr(next, got, &valid));
    CHECK(valid == 1);
}

TEST_CASE("what is of another inode than the record's is dropped") {
    Fixture f;
    f.records.publish_attr(kNode, Fixture::attr(1, 8), f.records.token(), nullptr);
    CHECK(f.size() == -1);
    const auto token = f.records.token();
    f.records.publish_complete(core::kRootNode, 8, f.records.directory_version(core::kRootNode),
                               token, nullptr);
    CHECK(f.verdict("nowhere") == Verdict::kPass);
    CHECK_FALSE(f.records.publish_entry({0, "a"}, kNode, f.records.token(), nullptr));
    // A directory that is complete stays so.
    f.complete_root();
    f.complete_root();
    CHECK(f.verdict("nowhere") == Verdict::kAbsent);
}

TEST_CASE("attributes that are absent add up, and a change takes them away") {
    Fixture f;
    f.records.publish_xattrs(kNode, kIno, XF_XATTR_ACL_ACCESS, f.records.token());
    f.records.publish_xattrs(kNode, kIno, XF_XATTR_ACL_DEFAULT, f.records.token());
    CHECK(f.reader.absent_xattrs(kNode) == kAclBits);
    const auto token = f.records.token();
    Change plain = change_of_inode();
    f.records.begin_change(plain);
    CHECK(f.reader.absent_xattrs(kNode) == kAclBits);
    f.records.end_change(plain);
    Change change = change_of_inode();
    change.xattrs = true;
    f.records.begin_change(change);
    CHECK(f.reader.absent_xattrs(kNode) == 0);
    f.records.publish_xattrs(kNode, kIno, kAclBits, f.records.token());
    CHECK(f.reader.absent_xattrs(kNode) == 0);
    f.records.end_change(change);
    f.records.publish_xattrs(kNode, kIno, kAclBits, token);
    CHECK(f.reader.absent_xattrs(kNode) == 0);
    f.records.publish_xattrs(kNode, kIno, XF_XATTR_NONE, f.records.token());
    CHECK(f.reader.absent_xattrs(kNode) == XF_XATTR_NONE);
}

TEST_CASE("a lookup is counted, and a node is retired only at exactly that count") {
    Fixture f;
    f.publish(1);
    REQUIRE(f.entry("a", kNode));
    CHECK(f.verdict("a") == Verdict::kFound);
    CHECK(f.verdict("a") == Verdict::kFound);
    CHECK_FALSE(f.records.try_retire(kNode, 0));
    CHECK_FALSE(f.records.try_retire(kNode, 1));
    CHECK_FALSE(f.records.try_retire(kNode, 3));
    CHECK(f.size() == 1);
    CHECK(f.records.try_retire(kNode, 2));
    // The entry still names it; nobody is given it.
    CHECK(f.verdict("a") == Verdict::kPass);
    CHECK(f.size() == -1);
    SECTION("nor does it come back with what a change tells of it late") {
        Change change = change_of_inode();
        f.records.begin_change(change);
        f.records.publish_attr(kNode, Fixture::attr(3), f.records.token(), &change);
        f.records.end_change(change);
        CHECK(f.size() == -1);
        (void)f.entry("a", kNode);
        CHECK(f.verdict("a") == Verdict::kPass);
    }
    SECTION("nor is the slot's next node") {
        const NodeId next = (NodeId{1} << 32) | kNode;
        f.records.adopt(next, 8);
        f.records.publish_attr(next, Fixture::attr(4, 8), f.records.token(), nullptr);
        CHECK(f.size(next) == 4);
        CHECK(f.size(kNode) == -1);
        CHECK(f.verdict("a") == Verdict::kPass);
        // More than a count can say is no part of the generation.
        CHECK_FALSE(f.records.try_retire(next, std::uint64_t{1} << 32));
        CHECK(f.records.try_retire(next, 0));
    }
}

TEST_CASE("a full count goes over to the daemon") {
    Fixture f;
    f.publish(1);
    REQUIRE(f.entry("a", kNode));
    Word ref(words_of(f.mapped.nodes[kNode])[offsetof(xf_node, ref) / 8]);
    CHECK(f.records.take_served(kNode) == 0);
    ref.store(xf_ref_alive(kNode) | XF_REF_COUNT_MASK);
    CHECK(f.verdict("a") == Verdict::kPass);
    CHECK(f.records.take_served(kNode) == XF_REF_COUNT_MASK);
    CHECK(f.verdict("a") == Verdict::kFound);
    CHECK_FALSE(f.records.try_retire(kNode, XF_REF_COUNT_MASK + 2));
    CHECK(f.records.try_retire(kNode, 1));
}

TEST_CASE("nodes beyond the array are left to the daemon") {
    Fixture f;
    constexpr NodeId kFar = 64;
    f.records.adopt(kFar, 9);
    f.records.publish_attr(kFar, Fixture::attr(1, 9), f.records.token(), nullptr);
    CHECK(f.size(kFar) == -1);
    REQUIRE(f.entry("far", kFar));
    CHECK(f.verdict("far") == Verdict::kPass);
    CHECK(f.records.try_retire(kFar, 0));
    // And names in such a directory are known all the same.
    REQUIRE(f.records.publish_entry({kFar, "a"}, 0, f.records.token(), nullptr));
    CHECK(f.reader.lookup(kFar, "a").verdict == Verdict::kAbsent);
    CHECK(f.reader.lookup(kFar, "b").verdict == Verdict::kPass);
}

TEST_CASE("a barred node is answered by nobody") {
    Fixture f;
    f.publish(1);
    REQUIRE(f.entry("a", kNode));
    f.records.bar(kNode);
    CHECK(f.size() == -1);
    f.publish(2);
    CHECK(f.size() == -1);
    CHECK(f.verdict("a") == Verdict::kPass);
    CHECK(f.reader.absent_xattrs(kNode) == 0);
    CHECK(f.records.try_retire(kNode, 0));
    // Nor does a listing make a barred directory complete.
    f.records.bar(core::kRootNode);
    f.complete_root();
    CHECK(f.verdict("nowhere") == Verdict::kPass);
}

TEST_CASE("nothing readable is left after the end") {
    Fixture f;
    f.publish(1);
    REQUIRE(f.entry("a", kNode));
    CHECK(f.verdict("a") == Verdict::kFound);
    f.records.publish_xattrs(kNode, kIno, XF_XATTR_IMA, f.records.token());
    f.complete_root();
    f.records.wipe();
    CHECK(f.verdict("a") == Verdict::kPass);
    CHECK(f.size() == -1);
    CHECK(f.records.names_known() == 0);
    for (auto& node : f.mapped.nodes) {
        const __u64* words = words_of(node);
        for (std::size_t i = 1; i < sizeof node / 8; ++i) {
            const bool version =
                i == offsetof(xf_node, xattr_ver) / 8 || i == offsetof(xf_node, dir_ver) / 8;
            const bool reference = i == offsetof(xf_node, ref) / 8;
            if (!version && !reference) REQUIRE(words[i] == 0);
            if (reference) REQUIRE((words[i] & XF_REF_ALIVE) == 0);
        }
    }
}

TEST_CASE("what no file ever has is known of each node, whatever changes") {
    Mapped mapped(64, 64);
    mapped.settings.always_absent = XF_XATTR_CAPABILITY;
    Records records(mapped.nodes, mapped.buckets, mapped.settings);
    BpfReader reader(mapped);
    records.adopt(kNode, kIno);
    CHECK(reader.absent_xattrs(kNode) == XF_XATTR_CAPABILITY);
    records.publish_xattrs(kNode, kIno, XF_XATTR_NONE, records.token());
    Change change = change_of_inode();
    change.xattrs = true;
    records.begin_change(change);
    CHECK(reader.absent_xattrs(kNode) == XF_XATTR_CAPABILITY);
    records.end_change(change);
    CHECK(records.try_retire(kNode, 0));
    const NodeId next = (NodeId{1} << 32) | kNode;
    records.adopt(next, 8);
    CHECK(reader.absent_xattrs(next) == XF_XATTR_CAPABILITY);
    records.bar(next);
    Change other = change_of_inode(8);
    other.xattrs = true;
    records.begin_change(other);
    CHECK(reader.absent_xattrs(next) == 0);
    records.end_change(other);
    records.publish_xattrs(next, 8, XF_XATTR_NONE, records.token());
    CHECK(reader.absent_xattrs(next) == 0);
    // Of another inode than the node's.
    records.adopt(3, 9);
    records.publish_xattrs(3, 8, XF_XATTR_NONE, records.token());
    CHECK(reader.absent_xattrs(3) == XF_XATTR_CAPABILITY);
}
