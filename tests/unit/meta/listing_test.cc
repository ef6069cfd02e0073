// SPDX-License-Identifier: Apache-2.0
// By which listings a directory becomes complete, and by which it must not.
#include <catch2/catch.hpp>

#include <string>

#include "encfs/meta/bpf_sink.h"
#include "tests/unit/meta/bpf_reader.h"

using namespace extencfs;
using namespace extencfs::meta;

namespace {

constexpr NodeId kDir = core::kRootNode;
constexpr std::uint64_t kIno = 100;

struct Fixture {
    explicit Fixture(std::size_t buckets = 64)
        : mapped(128, buckets),
          records(mapped.nodes, mapped.buckets, mapped.settings),
          sink(records, 0) {
        records.adopt(kDir, kIno);
    }
    std::uint64_t begin(std::uint64_t cookie, NodeId directory = kDir) {
        return sink.listing_begins(directory, cookie, sink.token());
    }
    void end(std::uint64_t listing, std::uint64_t cookie, bool complete) {
        sink.listing_ends(listing, kDir, kIno, cookie, complete);
    }
    void tell(std::uint64_t listing, std::string_view name) {
        sink.entry_listed(listing, {kDir, name}, core::MetadataSink::kUnknownNode, sink.token());
    }
    bool complete() { return reader.lookup(kDir, "nowhere").verdict == Verdict::kAbsent; }

    Mapped mapped;
    Records records;
    BpfSink sink;
    BpfReader reader{mapped};
};

}  // namespace

TEST_CASE("a listing to the end makes a directory complete") {
    Fixture f;
    auto listing = f.begin(0);
    REQUIRE(listing != 0);
    f.tell(listing, "a");
    SECTION("in one request") {
        f.end(listing, 5, true);
        CHECK(f.complete());
        // And it stays so, whatever comes after.
        f.end(f.begin(0), 5, true);
        CHECK(f.complete());
    }
    SECTION("in two") {
        f.end(listing, 5, false);
        CHECK_FALSE(f.complete());
        listing = f.begin(5);
        REQUIRE(listing != 0);
        f.end(listing, 9, true);
        CHECK(f.complete());
    }
    CHECK(f.reader.lookup(kDir, "a").verdict == Verdict::kPass);
}

TEST_CASE("a listing in two requests is from before the first") {
    Fixture f(1);
    f.end(f.begin(0), 5, false);
    SECTION("a change in between") {
        Records::Change change{.inodes = {kIno}};
        f.records.begin_change(change);
        f.records.end_change(change);
    }
    SECTION("an eviction in between") {
        for (const char* name : {"a", "b", "c", "d", "e"})
            f.records.publish_entry({kDir, name}, 0, f.records.token(), nullptr);
    }
    f.end(f.begin(5), 9, true);
    CHECK_FALSE(f.complete());
}

TEST_CASE("a listing goes on where it stopped, by itself") {
    Fixture f;
    f.end(f.begin(0), 5, false);
    SECTION("not at another place") {
        CHECK(f.begin(7) == 0);
    }
    SECTION("not in another directory, though they share the bookkeeping") {
        for (NodeId other = kDir + 1; other < 128; ++other) CHECK(f.begin(5, other) == 0);
    }
    SECTION("not twice at once") {
        const auto listing = f.begin(5);
        CHECK(listing != 0);
        CHECK(f.begin(5) == 0);
        f.end(0, 9, true);
        CHECK_FALSE(f.complete());
        f.end(listing, 9, true);
        CHECK(f.complete());
    }
    SECTION("not when another one has begun") {
        const auto old = f.begin(5);
        CHECK(f.begin(0) != old);
        f.end(old, 9, true);
        CHECK_FALSE(f.complete());
    }
}

TEST_CASE("a listing that is spoilt proves nothing") {
    Fixture f;
    const auto listing = f.begin(0);
    SECTION("by a name that could not be told") {
        f.sink.listing_spoilt(listing, kDir);
    }
    SECTION("by a name that is being changed") {
        Records::Change change{.names = {{{kDir, "x"}}}};
        f.records.begin_change(change);
        f.tell(listing, "x");
        f.records.end_change(change);
    }
    f.end(listing, 5, true);
    CHECK_FALSE(f.complete());
    // Nor does what goes on from it.
    CHECK(f.begin(5) == 0);
}

TEST_CASE("an attribute's absence says nothing of others") {
    Fixture f;
    using Fact = core::MetadataSink::XattrFact;
    f.sink.publish_xattr(kDir, kIno, Fact::kAbsent, "security.nothing", f.sink.token());
    f.sink.publish_xattr(kDir, kIno, Fact::kAbsent, "user.a", f.sink.token());
    CHECK(f.reader.absent_xattrs(kDir) == 0);
    f.sink.publish_xattr(kDir, kIno, Fact::kAbsent, "security.ima", f.sink.token());
    CHECK(f.reader.absent_xattrs(kDir) == XF_XATTR_IMA);
}
