// SPDX-License-Identifier: Apache-2.0
// Core's side of the sink's contract (metadata_sink.h): every lower call that changes something
// does so while it is closed, every publication's token was taken in time, and what replies tell is
// published.
#include <linux/falloc.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <filesystem>
#include <span>

#include "tests/unit/core/recording_sink.h"
#include "tests/unit/core/script.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

struct Watched {
    explicit Watched(bool clean = true)
        : fs(open_fs(lower, dir, {.clean = clean, .sink = sink})), session(*fs) {}
    ~Watched() {
        session.forget_all();
        CHECK(sink->faults() == "");
        CHECK(sink->all_open());
        CHECK(sink->nodes() == 1);
    }

    NodeId node(const std::string& path) {
        auto found = session.node(path);
        REQUIRE(found);
        return *found;
    }
    std::uint64_t ino(const std::string& path) {
        auto attr = fs->getattr(node(path));
        REQUIRE(attr);
        return attr->st_ino;
    }
    NodeId file(const std::string& name) {
        REQUIRE(session.keep(fs->create(kRootNode, name, 0644, {})));
        return node(name);
    }
    NodeId directory(const std::string& name) {
        REQUIRE(session.keep(fs->mkdir(kRootNode, name, 0755, {})));
        return node(name);
    }
    void start() { sink->history = {}; }
    bool closed(std::uint64_t inode) const {
        return std::ranges::find(sink->history.inodes, inode) != sink->history.inodes.end();
    }
    bool closed(NodeId parent, const std::string& name) const {
        return std::ranges::find(sink->history.names, std::pair{parent, name}) !=
               sink->history.names.end();
    }
    NodeId entry(const std::string& name) const { return sink->entries.at({kRootNode, name}); }

    fake::ScratchDir dir = fake::ScratchDir::in_memory();
    std::unique_ptr<lower::LowerFs> real = lower::make_posix_lower_fs();
    std::shared_ptr<RecordingSink> sink = std::make_shared<RecordingSink>();
    CheckedLower lower{*real, *sink};
    std::unique_ptr<Filesystem> fs;
    Session session;
};

}  // namespace

TEST_CASE("sink: a script of everything changes nothing that is not closed") {
    for (const bool clean : {true, false}) {
        const std::size_t before = threads_now();
        Watched w(clean);
        const Script script = whole_script();
        for (const auto& step : script.steps()) {
            INFO(step.what);
            REQUIRE(step.act(w.session));
            REQUIRE(w.sink->faults() == "");
        }
        w.session.forget_all();
        wait_for_scan(before);
        CHECK(w.fs->finish());
        CHECK(w.sink->ended);
    }
}

TEST_CASE("sink: lookups publish what there is, and what is not") {
    Watched w;
    CHECK_FALSE(w.fs->lookup(kRootNode, "f"));
    CHECK(w.entry("f") == 0);
    const NodeId f = w.file("f");
    CHECK(w.entry("f") == f);
    const int before = w.sink->published_attrs[f];
    CHECK(w.node("f") == f);
    CHECK(w.fs->getattr(f));
    CHECK(w.sink->published_attrs[f] >= before + 1);
    // Sizes are those of the contents.
    REQUIRE(w.fs->write(f, 0, bytes_of("twelve bytes"), WriteSource::kCaller, {}));
    CHECK(w.sink->published_sizes[f] == 12);
    REQUIRE(w.fs->write(f, 100'000, bytes_of("x"), WriteSource::kPageCache, {}));
    CHECK(w.sink->published_sizes[f] == 100'001);
    AttrChange change;
    change.size_set = true;
    change.size = 5;
    REQUIRE(w.fs->setattr(f, change));
    CHECK(w.sink->published_sizes[f] == 5);
}

TEST_CASE("sink: names close themselves, their directory and what lies there") {
    Watched w;
    const std::uint64_t root = w.ino("");
    const NodeId f = w.file("f");
    CHECK(w.closed(root));
    CHECK(w.closed(kRootNode, "f"));
    const std::uint64_t f_ino = w.ino("f");
    w.start();
    REQUIRE(w.session.keep(w.fs->link(f, kRootNode, "g")));
    CHECK(w.closed(root));
    CHECK(w.closed(f_ino));
    CHECK(w.closed(kRootNode, "g"));
    CHECK(w.entry("g") == f);
    w.start();
    const int attrs = w.sink->published_attrs[f];
    REQUIRE(w.fs->unlink(kRootNode, "g"));
    CHECK(w.closed(root));
    CHECK(w.closed(f_ino));
    CHECK(w.closed(kRootNode, "g"));
    CHECK(w.entry("g") == 0);
    // The kernel counts that link down by itself.
    CHECK(w.sink->published_attrs[f] == attrs);
}

TEST_CASE("sink: what has neither name nor descriptor is told, not published") {
    Watched w;
    const NodeId d = w.directory("d");
    REQUIRE(w.fs->rmdir(kRootNode, "d"));
    const int before = w.sink->published_attrs[d];
    CHECK(w.fs->getattr(d));
    CHECK(w.sink->published_attrs[d] == before);
}

TEST_CASE("sink: bits that a write takes away are closed before") {
    Watched w;
    const NodeId f = w.file("f");
    AttrChange mode;
    mode.mode_set = true;
    mode.mode = 04755;
    REQUIRE(w.fs->setattr(f, mode));
    KillPrivilege kill;
    kill.wanted = true;
    kill.caller_is_in = [](gid_t) { return true; };
    REQUIRE(w.fs->write(f, 0, bytes_of("x"), WriteSource::kCaller, kill));
    CHECK((w.fs->getattr(f)->st_mode & 07777) == 0755);
    CHECK(w.sink->faults() == "");
}

TEST_CASE("sink: nothing is told of the attributes of what refuses them") {
    Watched w;
    auto link = w.fs->symlink(kRootNode, "link", "target", {});
    REQUIRE(w.session.keep(link));
    w.sink->xattr_facts.clear();
    CHECK(w.fs->list_xattr(link->node)->empty());
    CHECK(w.sink->xattr_facts.empty());
}

TEST_CASE("sink: a long target's text is a change of the root") {
    Watched w;
    const std::uint64_t root = w.ino("");
    const NodeId d = w.directory("d");
    w.start();
    REQUIRE(w.session.keep(w.fs->symlink(d, "link", std::string(3500, 't'), {})));
    CHECK(w.closed(root));
    CHECK(w.closed(w.ino("d")));
    REQUIRE(w.fs->unlink(d, "link"));
}

TEST_CASE("sink: a rename closes both names, both directories, and both inodes") {
    Watched w;
    const NodeId d = w.directory("d");
    REQUIRE(w.session.keep(w.fs->create(d, "target", 0644, {})));
    const NodeId f = w.file("f");
    const std::uint64_t root = w.ino(""), d_ino = w.ino("d"), f_ino = w.ino("f"),
                        t_ino = w.ino("d/target");
    const NodeId target = w.node("d/target");
    auto check_closed = [&] {
        CHECK(w.closed(root));
        CHECK(w.closed(d_ino));
        CHECK(w.closed(f_ino));
        CHECK(w.closed(t_ino));
        CHECK(w.closed(kRootNode, "f"));
        CHECK(w.closed(d, "target"));
    };
    w.start();
    SECTION("exchanged") {
        REQUIRE(w.fs->rename(kRootNode, "f", d, "target", lower::RenameMode::kExchange));
        check_closed();
        CHECK(w.entry("f") == target);
        CHECK(w.sink->entries.at({d, "target"}) == f);
    }
    SECTION("replaced") {
        REQUIRE(w.fs->rename(kRootNode, "f", d, "target", lower::RenameMode::kReplace));
        check_closed();
        CHECK(w.entry("f") == 0);
        CHECK(w.sink->entries.at({d, "target"}) == f);
    }
    SECTION("refused") {
        CHECK_FALSE(w.fs->rename(kRootNode, "f", d, "target", lower::RenameMode::kNoReplace));
        CHECK(w.entry("f") == f);
        CHECK(w.sink->entries.at({d, "target"}) == target);
    }
}

TEST_CASE("sink: what is unknown as a node is closed all the same") {
    Watched w;
    w.file("f");
    const std::uint64_t f_ino = w.ino("f");
    w.session.forget_all();
    REQUIRE(w.sink->nodes() == 1);
    w.start();
    REQUIRE(w.fs->rename(kRootNode, "f", kRootNode, "g", lower::RenameMode::kReplace));
    CHECK(w.closed(f_ino));
    CHECK(w.entry("f") == 0);
    CHECK(w.entry("g") == MetadataSink::kUnknownNode);
    w.start();
    REQUIRE(w.fs->unlink(kRootNode, "g"));
    CHECK(w.closed(f_ino));
}

TEST_CASE("sink: owners and modes close extended attributes, as attributes do themselves") {
    Watched w;
    const NodeId f = w.file("f");
    AttrChange times;
    times.mtime_set = true;
    w.start();
    REQUIRE(w.fs->setattr(f, times));
    CHECK_FALSE(w.sink->history.xattrs);
    AttrChange mode;
    mode.mode_set = true;
    mode.mode = 0600;
    REQUIRE(w.fs->setattr(f, mode));
    CHECK(w.sink->history.xattrs);
    AttrChange owner;
    owner.uid_set = true;
    owner.uid = ::geteuid();
    w.start();
    REQUIRE(w.fs->setattr(f, owner));
    CHECK(w.sink->history.xattrs);
    AttrChange group;
    group.gid_set = true;
    group.gid = ::getegid();
    w.start();
    REQUIRE(w.fs->setattr(f, group));
    CHECK(w.sink->history.xattrs);
    w.start();
    REQUIRE(w.fs->set_xattr(f, "user.a", bytes_of("1"), 0));
    CHECK(w.sink->history.xattrs);
    CHECK(w.closed(w.ino("f")));
}

TEST_CASE("sink: absent extended attributes are published, others are not") {
    using Fact = MetadataSink::XattrFact;
    Watched w;
    const NodeId f = w.file("f");
    w.sink->xattr_facts.clear();  // what its making told
    CHECK_FALSE(w.fs->get_xattr(f, "user.a"));
    CHECK(w.fs->list_xattr(f)->empty());
    const std::vector<std::tuple<NodeId, Fact, std::string>> both{{f, Fact::kAbsent, "user.a"},
                                                                  {f, Fact::kNone, ""}};
    CHECK(w.sink->xattr_facts == both);
    REQUIRE(w.fs->set_xattr(f, "user.a", bytes_of("1"), 0));
    CHECK(w.fs->get_xattr(f, "user.a"));
    CHECK(w.fs->list_xattr(f)->size() == 1);
    CHECK(w.sink->xattr_facts == both);
}

TEST_CASE("sink: what is new has no extended attributes but those that it inherits") {
    using Facts = std::vector<std::tuple<NodeId, MetadataSink::XattrFact, std::string>>;
    Watched w;
    auto file = w.fs->create(kRootNode, "f", 0644, {});
    auto dir = w.fs->mkdir(kRootNode, "d", 0755, {});
    REQUIRE(w.session.keep(file));
    REQUIRE(w.session.keep(dir));
    const NodeId f = file->node, d = dir->node;
    constexpr auto kNone = MetadataSink::XattrFact::kNone;
    CHECK(w.sink->xattr_facts == Facts{{f, kNone, ""}, {d, kNone, ""}});
    // Version 2; user::rwx, user:1000:rwx, group::r-x, mask::rwx, other::r-x.
    static constexpr unsigned char kAcl[] = {
        2, 0,    0,    0,    1,    0,    7,    0, 0xff, 0xff, 0xff, 0xff, 2,    0,    7,
        0, 0xe8, 3,    0,    0,    4,    0,    5, 0,    0xff, 0xff, 0xff, 0xff, 0x10, 0,
        7, 0,    0xff, 0xff, 0xff, 0xff, 0x20, 0, 5,    0,    0xff, 0xff, 0xff, 0xff};
    if (!w.fs->set_xattr(d, "system.posix_acl_default", std::as_bytes(std::span(kAcl)), 0))
        return;  // the lower file system has none
    w.sink->xattr_facts.clear();
    CHECK(w.fs->list_xattr(d)->size() == 1);
    REQUIRE(w.session.keep(w.fs->mknod(d, "heir", S_IFREG | 0644, 0, {})));
    REQUIRE(w.session.keep(w.fs->mkdir(d, "heirs", 0755, {})));
    REQUIRE(w.session.keep(w.fs->lookup(d, "heir")));
    CHECK(w.sink->xattr_facts.empty());
    REQUIRE(w.fs->remove_xattr(d, "system.posix_acl_default"));
    CHECK(w.sink->xattr_facts == Facts{{d, kNone, ""}});
    w.sink->xattr_facts.clear();
    REQUIRE(w.session.keep(w.fs->lookup(kRootNode, "f")));
    CHECK(w.sink->xattr_facts == Facts{{f, kNone, ""}});
}

TEST_CASE("sink: listings tell when a directory is whole") {
    Watched w;
    const NodeId d = w.directory("d");
    CHECK(w.sink->complete == std::vector{d});  // new and empty
    for (const char* name : {"a", "b", "c"}) w.file(name);
    w.sink->complete.clear();
    w.sink->xattr_facts.clear();
    std::uint64_t cookie = 0;
    int parts = 0;
    for (bool more = true; more; ++parts) {
        int taken = 0;
        more = false;
        REQUIRE(w.fs->list(kRootNode, cookie, ListMode::kWithAttributes, [&](const auto& entry) {
            if (taken == 3) more = true;
            if (taken++ == 3) return false;
            cookie = entry.cookie;
            if (entry.entry != nullptr) REQUIRE(w.session.keep(*entry.entry));
            return true;
        }));
        CHECK(w.sink->complete.empty() == more);
    }
    CHECK(parts == 2);
    CHECK(w.sink->xattr_facts.size() >= 4);  // none of them has any
    CHECK(w.sink->spoilt.empty());
}

TEST_CASE("sink: a name that cannot be read spoils a listing") {
    Watched w;
    const NodeId d = w.directory("d");
    REQUIRE(w.session.keep(w.fs->create(d, "f", 0644, {})));
    // Names are bound to their directory.
    const std::filesystem::path root(w.dir.path());
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
        const std::string name = entry.path().filename();
        if (entry.is_regular_file() && entry.path().parent_path() != root &&
            !name.starts_with(volume::kReservedPrefix)) {
            std::filesystem::rename(entry.path(), root / name);
            break;
        }
    }
    REQUIRE(w.fs->list(kRootNode, 0, ListMode::kNames, [](const auto&) { return true; }));
    CHECK(w.sink->spoilt == std::vector{kRootNode});
}

TEST_CASE("sink: a mode lifted for a moment is a change") {
    Watched w;
    const NodeId f = w.file("f");
    REQUIRE(w.fs->write(f, 0, bytes_of("x"), WriteSource::kCaller, {}));
    w.session.forget_all();
    w.start();
    // As anybody but root: the mode stands in the way, and is lifted. As root this only reads.
    auto again = w.fs->lookup(kRootNode, "f");
    REQUIRE(w.session.keep(again));
    AttrChange mode;
    mode.mode_set = true;
    mode.mode = 0;
    REQUIRE(w.fs->setattr(again->node, mode));
    w.session.forget_all();
    again = w.fs->lookup(kRootNode, "f");
    REQUIRE(w.session.keep(again));
    IoBuffer buffer;
    CHECK(w.fs->read(again->node, 0, 10, buffer));
}
