// SPDX-License-Identifier: Apache-2.0
// The rules of names, one by one, on one thread: records_test.cc has those of nodes.
#include "tests/unit/meta/records_fixture.h"

using namespace extencfs;
using namespace extencfs::meta;

TEST_CASE("a change of a name leaves it to the daemon until it is published") {
    Fixture f;
    f.publish(1);
    REQUIRE(f.entry("a", kNode));
    Change change = change_of_name("a");
    f.records.begin_change(change);
    CHECK(f.verdict("a") == Verdict::kPass);
    CHECK_FALSE(f.entry("a", kNode));
    SECTION("by the change") {
        REQUIRE(f.records.publish_entry({core::kRootNode, "a"}, 0, f.records.token(), &change));
        CHECK(f.verdict("a") == Verdict::kAbsent);
        f.records.end_change(change);
        CHECK(f.verdict("a") == Verdict::kAbsent);
    }
    SECTION("by a later lookup, where it failed") {
        f.records.end_change(change);
        CHECK(f.verdict("a") == Verdict::kPass);
        REQUIRE(f.entry("a", kNode));
        CHECK(f.verdict("a") == Verdict::kFound);
    }
    // Within a change of another name, at another gate: not while this one is being changed.
    Change here = change_of_name("a");
    f.records.begin_change(here);
    for (const char* name : {"q", "r", "s", "t", "u", "v"}) {
        Change other{.names = {{{core::kRootNode, name}}}};
        f.records.begin_change(other);
        CHECK_FALSE(f.records.publish_entry({core::kRootNode, "a"}, 0, f.records.token(), &other));
        f.records.end_change(other);
    }
    f.records.end_change(here);
    // A listing that does not know the node does not undo what is known.
    REQUIRE(f.entry("b", 0));
    REQUIRE(f.entry("b", core::MetadataSink::kUnknownNode));
    CHECK(f.verdict("b") == Verdict::kAbsent);
}

TEST_CASE("in a complete directory a name that is not there does not exist") {
    Fixture f;
    CHECK(f.verdict("x") == Verdict::kPass);
    f.complete_root();
    CHECK(f.verdict("x") == Verdict::kAbsent);
    Change change = change_of_name("x");
    f.records.begin_change(change);
    CHECK(f.verdict("x") == Verdict::kPass);
    CHECK(f.verdict("y") == Verdict::kAbsent);
    f.records.end_change(change);
    CHECK(f.verdict("x") == Verdict::kPass);
    CHECK(f.verdict("y") == Verdict::kAbsent);
}

TEST_CASE("a pass proves nothing if a name changed or a way was evicted meanwhile") {
    Fixture f(1);
    const auto token = f.records.token();
    const auto seen = f.records.directory_version(core::kRootNode);
    auto finish = [&] {
        f.records.publish_complete(core::kRootNode, kRootIno, seen, token, nullptr);
        return f.verdict("nowhere") == Verdict::kAbsent;
    };
    SECTION("neither") {
        CHECK(finish());
    }
    SECTION("a change over") {
        Change change = change_of_name("x");
        f.records.begin_change(change);
        f.records.end_change(change);
        CHECK_FALSE(finish());
    }
    SECTION("a change under way") {
        Change change = change_of_name("x");
        f.records.begin_change(change);
        CHECK_FALSE(finish());
        f.records.end_change(change);
    }
    SECTION("an eviction") {
        for (const char* name : {"a", "b", "c", "d", "e"}) REQUIRE(f.entry(name, 0));
        CHECK_FALSE(finish());
    }
}

TEST_CASE("evictions end completeness, and never lose a name silently") {
    Fixture f(2);
    std::set<std::string> known;
    f.complete_root();
    for (int i = 0; i < 40; ++i) {
        const std::string name = "n" + std::to_string(i);
        f.publish(1);
        REQUIRE(f.entry(name, kNode));
        known.insert(name);
        for (const auto& one : known) REQUIRE(f.verdict(one) != Verdict::kAbsent);
    }
    CHECK(f.verdict("nowhere") == Verdict::kPass);
    CHECK(f.records.names_known() == 8);
    // Ways of a directory that is gone are taken first.
    const NodeId directory = 5;
    f.records.adopt(directory, 55);
    Fixture g(1);
    g.records.adopt(directory, 55);
    REQUIRE(g.records.publish_entry({directory, "in it"}, 0, g.records.token(), nullptr));
    for (const char* name : {"a", "b", "c"}) REQUIRE(g.entry(name, 0));
    CHECK(g.records.try_retire(directory, 0));
    g.complete_root();
    REQUIRE(g.entry("d", 0));
    CHECK(g.verdict("nowhere") == Verdict::kAbsent);
}

TEST_CASE("two names of a change that share a gate are counted once") {
    Fixture f(1);
    f.publish(1);
    Change change{.inodes = {kRootIno},
                  .names = {{{core::kRootNode, "a"}, {core::kRootNode, "b"}}}};
    f.records.begin_change(change);
    CHECK_FALSE(f.entry("a", kNode));
    CHECK(f.records.publish_entry({core::kRootNode, "a"}, 0, f.records.token(), &change));
    f.records.end_change(change);
    CHECK(f.entry("b", kNode));
    CHECK(f.verdict("a") == Verdict::kAbsent);
    CHECK(f.verdict("b") == Verdict::kFound);
}
