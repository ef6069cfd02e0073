// SPDX-License-Identifier: Apache-2.0
// The file system with the records behind it, by one thread: what is answered without it, what is
// not, and what a change that comes between a look and its publication does. judge_test.cc has
// many.
#include <catch2/catch.hpp>

#include <functional>
#include <string>

#include "tests/unit/core/borrowed_lower.h"
#include "tests/unit/meta/world.h"

using namespace extencfs;
using namespace extencfs::core;
using namespace extencfs::meta;

namespace {

// Acts between a look and what follows it.
class Interposed final : public BorrowedLower {
  public:
    explicit Interposed(LowerFs& to) : BorrowedLower(to) {}
    std::function<void()> before_stat;
    std::function<void()> after_stat;
    std::function<void()> before_change;

    lower::Result<struct stat> stat_at(int d, const std::string& n) override {
        act(before_stat);
        auto is = BorrowedLower::stat_at(d, n);
        act(after_stat);
        return is;
    }
    lower::Result<struct stat> stat(int fd) override {
        auto is = BorrowedLower::stat(fd);
        act(after_stat);
        return is;
    }
    lower::Result<ByteVector> get_xattr(int fd, const std::string& name) override {
        auto value = BorrowedLower::get_xattr(fd, name);
        act(after_stat);
        return value;
    }
    lower::Result<void> unlink(int d, const std::string& n) override {
        act(before_change);
        return BorrowedLower::unlink(d, n);
    }
    lower::Result<void> rename(int d, const std::string& n, int e, const std::string& m,
                               lower::RenameMode mode) override {
        act(before_change);
        return BorrowedLower::rename(d, n, e, m, mode);
    }

  private:
    static void act(std::function<void()>& what) {
        if (!what) return;
        auto once = std::move(what);
        what = nullptr;
        once();
    }
};

AttrChange to_mode(mode_t mode) {
    AttrChange change;
    change.mode_set = true;
    change.mode = mode;
    return change;
}

}  // namespace

TEST_CASE("attributes of what is renamed again and again are found") {
    const auto real = lower::make_posix_lower_fs();
    Interposed lower(*real);
    World w(lower);
    auto link = w.fs->symlink(kRootNode, "0", "target", {});
    REQUIRE(link);
    int renamed = 0;
    // Before each look by its name, which has changed by then.
    const std::function<void()> rename = [&] {
        const std::string from = std::to_string(renamed), to = std::to_string(renamed + 1);
        if (++renamed > 10) return;
        CHECK(w.fs->rename(kRootNode, from, kRootNode, to, lower::RenameMode::kReplace));
        lower.before_stat = rename;
    };
    lower.before_stat = rename;
    CHECK(w.fs->getattr(link->node));
    CHECK(renamed > 10);
    w.fs->forget(link->node, 1);
}

TEST_CASE("what replies told is answered without the daemon, and is right") {
    const auto real = lower::make_posix_lower_fs();
    World w(*real);
    CHECK(w.verdict("f") == Verdict::kPass);
    REQUIRE_FALSE(w.fs->lookup(kRootNode, "f"));
    CHECK(w.verdict("f") == Verdict::kAbsent);
    auto f = w.fs->create(kRootNode, "f", 0640, {});
    REQUIRE(f);
    CHECK(w.verdict("f") == Verdict::kFound);
    CHECK(same(w.attr(f->node), *w.fs->getattr(f->node)));
    CHECK(same(w.attr(kRootNode), *w.fs->getattr(kRootNode)));
    REQUIRE(w.fs->write(f->node, 0, bytes_of("abc"), WriteSource::kCaller, {}));
    CHECK(w.attr(f->node).size == 3);
    REQUIRE(w.fs->setattr(f->node, to_mode(0600)));
    CHECK(w.attr(f->node).mode == (S_IFREG | 0600));
    auto d = w.fs->mkdir(kRootNode, "d", 0755, {});
    REQUIRE(d);
    CHECK(w.verdict("anything", d->node) == Verdict::kAbsent);
    REQUIRE(w.fs->rename(kRootNode, "f", d->node, "g", lower::RenameMode::kReplace));
    CHECK(w.verdict("f") == Verdict::kAbsent);
    CHECK(w.verdict("g", d->node) == Verdict::kFound);
    CHECK(same(w.attr(f->node), *w.fs->getattr(f->node)));
    CHECK(same(w.attr(d->node), *w.fs->getattr(d->node)));
    REQUIRE(w.fs->unlink(d->node, "g"));
    CHECK(w.verdict("g", d->node) == Verdict::kAbsent);
    w.fs->forget(f->node, 1);
    w.fs->forget(d->node, 1);
    CHECK(w.fs->node_count() == 1);
    CHECK(w.fs->finish());
    CHECK(w.records.names_known() == 0);
}

TEST_CASE("a node lives until the references that readers took are given back") {
    const auto real = lower::make_posix_lower_fs();
    World w(*real);
    auto f = w.fs->create(kRootNode, "f", 0600, {});
    REQUIRE(f);
    REQUIRE(w.reader.lookup(kRootNode, "f").verdict == Verdict::kFound);
    REQUIRE(w.reader.lookup(kRootNode, "f").verdict == Verdict::kFound);
    // FORGETs come in any portions: of one from the daemon and two of the readers.
    w.fs->forget(f->node, 2);
    CHECK(w.fs->node_count() == 2);
    CHECK(w.fs->getattr(f->node));
    w.fs->forget(f->node, 1);
    CHECK(w.fs->node_count() == 1);
    CHECK_FALSE(w.fs->getattr(f->node));
    CHECK(w.verdict("f") == Verdict::kPass);
    // A new node has another id, and the entry is right again.
    auto again = w.fs->lookup(kRootNode, "f");
    REQUIRE(again);
    CHECK(again->node != f->node);
    CHECK(xf_slot(again->node) == xf_slot(f->node));
    CHECK(w.verdict("f") == Verdict::kFound);
    w.fs->forget(again->node, 1);
    CHECK(w.fs->node_count() == 1);
}

TEST_CASE("what the kernel forgot is handed out again without the daemon") {
    const auto real = lower::make_posix_lower_fs();
    World w(*real, 256, 1024, 2);  // the root and one more
    auto f = w.fs->create(kRootNode, "f", 0600, {});
    REQUIRE(f);
    w.fs->forget(f->node, 1);
    CHECK(w.fs->node_count() == 1);
    const Looked got = w.reader.lookup(kRootNode, "f");
    REQUIRE(got.verdict == Verdict::kFound);
    CHECK(got.node == f->node);
    CHECK(w.fs->node_count() == 2);
    // A change is seen as ever.
    REQUIRE(w.fs->setattr(f->node, to_mode(0640)));
    CHECK(w.attr(f->node).mode == (S_IFREG | 0640));
    w.fs->forget(f->node, 1);
    REQUIRE(w.fs->rename(kRootNode, "f", kRootNode, "g", lower::RenameMode::kReplace));
    CHECK(w.verdict("f") == Verdict::kAbsent);
    CHECK(w.verdict("g") == Verdict::kFound);
    // Another one takes its room.
    auto h = w.fs->create(kRootNode, "h", 0600, {});
    REQUIRE(h);
    w.fs->forget(h->node, 1);
    CHECK(w.verdict("g") == Verdict::kPass);
    CHECK(w.verdict("h") == Verdict::kFound);
    // What is unlinked is told no more.
    REQUIRE(w.fs->unlink(kRootNode, "h"));
    CHECK(w.verdict("h") == Verdict::kAbsent);
    CHECK(w.fs->node_count() == 1);
    CHECK(w.fs->finish());
    CHECK(w.records.names_known() == 0);
}

TEST_CASE("a directory is whole after its listing, until something is evicted") {
    const auto real = lower::make_posix_lower_fs();
    World w(*real);
    for (const char* name : {"a", "b", "c"}) {
        auto made = w.fs->create(kRootNode, name, 0600, {});
        REQUIRE(made);
        w.fs->forget(made->node, 1);
    }
    CHECK(w.verdict("missing") == Verdict::kPass);
    auto list = [&](ListMode mode) {
        REQUIRE(w.fs->list(kRootNode, 0, mode, [&](const ListedEntry& entry) {
            if (entry.entry != nullptr) w.fs->forget(entry.entry->node, 1);
            return true;
        }));
    };
    SECTION("of names") {
        list(ListMode::kNames);
    }
    SECTION("with attributes") {
        list(ListMode::kWithAttributes);
    }
    CHECK(w.verdict("missing") == Verdict::kAbsent);
    CHECK(w.verdict("a") == Verdict::kPass);  // its node is gone
    auto made = w.fs->create(kRootNode, "new", 0600, {});
    REQUIRE(made);
    CHECK(w.verdict("missing") == Verdict::kAbsent);
    CHECK(w.verdict("new") == Verdict::kFound);
    w.fs->forget(made->node, 1);
}

TEST_CASE("what was read before a change that overlaps is dropped") {
    const auto real = lower::make_posix_lower_fs();
    Interposed lower(*real);
    World w(lower);
    auto f = w.fs->create(kRootNode, "f", 0644, {});
    REQUIRE(f);
    const NodeId node = f->node;
    bool acted = false;
    auto chmod = [&] {
        acted = true;
        REQUIRE(w.fs->setattr(node, to_mode(0600)));
        // What the change made known is closed again by nobody: it is the truth.
        CHECK(w.attr(node).mode == (S_IFREG | 0600));
    };
    SECTION("by GETATTR") {
        lower.after_stat = chmod;
        REQUIRE(w.fs->getattr(node));
    }
    SECTION("by LOOKUP") {
        lower.after_stat = chmod;
        auto found = w.fs->lookup(kRootNode, "f");
        REQUIRE(found);
        w.fs->forget(node, 1);
    }
    SECTION("by LOOKUP under another name, whose node is not known yet") {
        REQUIRE(w.fs->link(node, kRootNode, "g"));
        w.fs->forget(node, 2);
        CHECK(w.fs->node_count() == 1);
        NodeId late = 0;
        lower.after_stat = [&] {
            acted = true;
            auto other = w.fs->lookup(kRootNode, "g");
            REQUIRE(other);
            late = other->node;
            REQUIRE(w.fs->setattr(late, to_mode(0600)));
        };
        auto found = w.fs->lookup(kRootNode, "f");
        REQUIRE(found);
        CHECK(found->node == late);
        CHECK(w.attr(late).mode == (S_IFREG | 0600));
        w.fs->forget(late, 1);
        f = found;
    }
    SECTION("by a listing") {
        lower.after_stat = chmod;
        REQUIRE(w.fs->list(kRootNode, 0, ListMode::kWithAttributes, [&](const ListedEntry& entry) {
            if (entry.entry != nullptr) w.fs->forget(entry.entry->node, 1);
            return true;
        }));
    }
    SECTION("by WRITE") {
        REQUIRE(w.fs->write(node, 0, bytes_of("1"), WriteSource::kCaller, {}));
        lower.after_stat = [&] {
            acted = true;
            REQUIRE(w.fs->setattr(node, to_mode(0600)));
        };
        REQUIRE(w.fs->write(node, 0, bytes_of("2"), WriteSource::kPageCache, {}));
        // Two changes overlapped: neither may publish what it saw.
        CHECK_FALSE((w.knows(node) && w.attr(node).mode != (S_IFREG | 0600)));
    }
    CHECK(acted);
    if (w.knows(f->node)) CHECK(same(w.attr(f->node), *w.fs->getattr(f->node)));
    w.fs->forget(f->node, 1);
    CHECK(w.fs->node_count() == 1);
}

TEST_CASE("what is absent is not said of an attribute that is set meanwhile") {
    const auto real = lower::make_posix_lower_fs();
    Interposed lower(*real);
    World w(lower);
    auto f = w.fs->create(kRootNode, "f", 0644, {});
    REQUIRE(f);
    constexpr const char* kAcl = "system.posix_acl_access";
    CHECK_FALSE(w.fs->get_xattr(f->node, kAcl));
    // Where the lower file system has none at all, nothing is said.
    const bool has_acls = (w.reader.absent_xattrs(f->node) & XF_XATTR_ACL_ACCESS) != 0;
    if (has_acls) {
        REQUIRE(w.fs->set_xattr(f->node, "user.other", bytes_of("x"), 0));
        CHECK(w.reader.absent_xattrs(f->node) == 0);
        lower.after_stat = [&] {
            REQUIRE(w.fs->set_xattr(f->node, "user.another", bytes_of("x"), 0));
        };
        CHECK_FALSE(w.fs->get_xattr(f->node, kAcl));
        CHECK(w.reader.absent_xattrs(f->node) == 0);
    }
    w.fs->forget(f->node, 1);
}

TEST_CASE(
    "that no attribute is there means no ACL once the lower file system is known to have them") {
    const auto real = lower::make_posix_lower_fs();
    World w(*real);
    constexpr std::uint64_t kAcls = XF_XATTR_ACL_ACCESS | XF_XATTR_ACL_DEFAULT;
    auto f = w.fs->create(kRootNode, "f", 0644, {});
    REQUIRE(f);
    CHECK((w.reader.absent_xattrs(f->node) & XF_XATTR_NONE) != 0);
    CHECK((w.reader.absent_xattrs(f->node) & kAcls) == 0);
    const auto acl = w.fs->get_xattr(f->node, "system.posix_acl_access");
    REQUIRE_FALSE(acl);
    const bool has_acls = errno_of(acl.error()) == ENODATA;
    auto g = w.fs->create(kRootNode, "g", 0644, {});
    REQUIRE(g);
    CHECK((w.reader.absent_xattrs(g->node) & kAcls) == (has_acls ? kAcls : 0));
    REQUIRE(w.fs->set_xattr(g->node, "user.one", bytes_of("x"), 0));
    CHECK((w.reader.absent_xattrs(g->node) & (kAcls | XF_XATTR_NONE)) == 0);
    w.fs->forget(f->node, 1);
    w.fs->forget(g->node, 1);
}

TEST_CASE("nothing is answered of what is being changed") {
    const auto real = lower::make_posix_lower_fs();
    Interposed lower(*real);
    World w(lower);
    auto f = w.fs->create(kRootNode, "f", 0644, {});
    auto g = w.fs->create(kRootNode, "g", 0644, {});
    REQUIRE((f && g));
    bool acted = false;
    auto check = [&](std::initializer_list<NodeId> closed) {
        acted = true;
        for (const NodeId node : closed) CHECK_FALSE(w.knows(node));
        CHECK(w.verdict("f") == Verdict::kPass);
    };
    SECTION("unlink") {
        lower.before_change = [&] { check({f->node, kRootNode}); };
        REQUIRE(w.fs->unlink(kRootNode, "f"));
        CHECK(w.verdict("f") == Verdict::kAbsent);
    }
    SECTION("rename") {
        lower.before_change = [&] {
            check({f->node, g->node, kRootNode});
            CHECK(w.verdict("g") == Verdict::kPass);
        };
        REQUIRE(w.fs->rename(kRootNode, "f", kRootNode, "g", lower::RenameMode::kExchange));
        CHECK(w.verdict("f") == Verdict::kFound);
    }
    CHECK(acted);
    w.fs->forget(f->node, 1);
    w.fs->forget(g->node, 1);
}
