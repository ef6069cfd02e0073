// SPDX-License-Identifier: Apache-2.0
// What programs, disks and others do while the keys of a mount are rotated, at chosen moments.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>

#include "encfs/core/listing_snapshots.h"
#include "encfs/core/online_rotation.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/rotate/rotate_place.h"

using namespace extencfs;
using namespace extencfs::test;
using core::Filesystem;
using core::kRootNode;
using core::NodeId;
using fake::Calls;

namespace {

// A fragment run and its sync take place for more than one lower page.
constexpr std::size_t kBig = 600'000;

NodeId make(Filesystem& fs, NodeId parent, const std::string& name, std::size_t size) {
    auto made = fs.create(parent, name, 0600, {});
    REQUIRE(made);
    const std::string text(size, 't');
    if (size != 0) REQUIRE(fs.write(made->node, 0, bytes_of(text), core::WriteSource::kCaller, {}));
    return made->node;
}

NodeId make_dir(Filesystem& fs, NodeId parent, const std::string& name) {
    auto made = fs.mkdir(parent, name, 0700, {});
    REQUIRE(made);
    return made->node;
}

void set(Filesystem& fs, NodeId node, const std::string& value) {
    REQUIRE(fs.set_xattr(node, "user.a", bytes_of(value), 0));
}

std::string get(Filesystem& fs, NodeId node) {
    const auto value = fs.get_xattr(node, "user.a");
    return value ? std::string(text_of(*value)) : "none";
}

NodeId find(Filesystem& fs, NodeId parent, const std::string& name) {
    const auto found = fs.lookup(parent, name);
    REQUIRE(found);
    return found->node;
}

std::vector<std::string> lower_directories(const RotatePlace& place) {
    std::vector<std::string> paths;
    for (const std::string& name : place.keys().names()) {
        struct stat is {};
        if (::stat(place.path(name).c_str(), &is) == 0 && S_ISDIR(is.st_mode))
            paths.push_back(place.path(name));
    }
    std::ranges::sort(paths);
    return paths;
}

void check_done(const Rotated& done) {
    INFO((done.failed ? done.failed->sentence : "done"));
    CHECK(!done.failed);
    CHECK(done.damaged == 0);
}

}  // namespace

TEST_CASE("attributes of a file that is emptied and moved behind the walk are rotated") {
    const RotatePlace place;
    fake::FaultLowerFs lower;
    {
        const auto fs = place.open(lower);
        const NodeId later = make_dir(*fs, kRootNode, "later");
        for (const char* name : {"moved", "linked"})
            set(*fs, make(*fs, later, name, 9000), "value");
        make(*fs, kRootNode, "big", kBig);
        CHECK(fs->finish());
    }
    const auto fs = place.open(lower);
    bool met = false;
    // The walk is in the root, whose names it has listed, and was not in the directory yet.
    lower.before_sync(kBig, [&] {
        const NodeId later = find(*fs, kRootNode, "later");
        core::AttrChange empty;
        empty.size_set = true;
        empty.size = 0;
        for (const char* name : {"moved", "linked"})
            REQUIRE(fs->setattr(find(*fs, later, name), empty));
        REQUIRE(fs->rename(later, "moved", kRootNode, "moved", lower::RenameMode::kReplace));
        REQUIRE(fs->link(find(*fs, later, "linked"), kRootNode, "linked"));
        REQUIRE(fs->unlink(later, "linked"));
        met = true;
    });
    check_done(rotate_beside(lower, place.path(), *fs));
    REQUIRE(met);
    for (const char* name : {"moved", "linked"})
        CHECK(get(*fs, find(*fs, kRootNode, name)) == "value");
    CHECK(fs->finish());
    place.with([](Filesystem& again) {
        for (const char* name : {"moved", "linked"}) {
            INFO(name);
            const auto found = again.lookup(kRootNode, name);
            REQUIRE(found);
            CHECK(get(again, found->node) == "value");
            again.forget(found->node, 1);
        }
    });
}

TEST_CASE("an attribute that a program changes after a rotation failed stays changed") {
    for (std::uint64_t n = 1;; ++n) {
        INFO("syncfs " << n);
        REQUIRE(n < 40);
        const RotatePlace place;
        fake::FaultLowerFs lower;
        const auto fs = place.open(lower);
        const NodeId file = make(*fs, kRootNode, "file", 100);
        set(*fs, file, "first");
        REQUIRE(fs->set_xattr(file, "user.b", bytes_of("other"), 0));
        // They do not fit twice, and go by way of the root.
        lower.fail_at(1, ENOSPC, Calls::named("set_xattr"));
        const std::uint64_t at = lower.count(Calls::named("syncfs")) + n;
        lower.fail_at(n, EIO, Calls::named("syncfs"));
        const auto first = rotate_beside(lower, place.path(), *fs);
        const bool through = lower.count(Calls::named("syncfs")) < at;
        lower.revive();
        CHECK(get(*fs, file) == "first");
        set(*fs, file, "second");
        REQUIRE(fs->remove_xattr(file, "user.b"));
        CHECK(get(*fs, file) == "second");
        // A sync that failed is not gone on after in this mount.
        const bool is_lost = core::OnlineRotation(*fs).has_lost_writes();
        if (first.failed && !is_lost) check_done(rotate_beside(lower, place.path(), *fs));
        CHECK(get(*fs, file) == "second");
        CHECK(!fs->get_xattr(file, "user.b"));
        fs->forget(file, 1);
        (void)fs->finish();
        if (is_lost) REQUIRE(!rotate_keys(lower, place.path()));
        place.with([](Filesystem& again) {
            const NodeId same = find(again, kRootNode, "file");
            CHECK(get(again, same) == "second");
            CHECK(!again.get_xattr(same, "user.b"));
            again.forget(same, 1);
        });
        if (through) return;
    }
}

TEST_CASE("what cannot be opened for a moment is not left under the old key") {
    bool failed_once = false;
    for (std::uint64_t n = 1;; n += kStep) {
        INFO("open " << n);
        REQUIRE(n < 1000);
        const RotatePlace place;
        place.with([](Filesystem& fs) {
            const std::string name(200, 'n');
            const NodeId dir = make_dir(fs, kRootNode, "directory " + name);
            fs.forget(make(fs, dir, "file " + name, 100), 1);
            fs.forget(make(fs, kRootNode, "file " + name, 100), 1);
            fs.forget(dir, 1);
        });
        const Upper before = place.look(Compare::kNoTimes);
        fake::FaultLowerFs lower;
        auto fs = place.open(lower);
        const std::uint64_t at = lower.count(Calls::named("open")) + n;
        lower.fail_at(n, EMFILE, Calls::named("open"));
        const auto first = rotate_beside(lower, place.path(), *fs);
        const bool through = lower.count(Calls::named("open")) < at;
        lower.revive();
        failed_once = failed_once || first.failed;
        CHECK(first.damaged == 0);
        if (first.failed) check_done(rotate_beside(lower, place.path(), *fs));
        CHECK(difference(seen_in(*fs, Compare::kNoTimes), before) == "");
        (void)fs->finish();
        fs.reset();
        CHECK(difference(place.look(Compare::kNoTimes), before) == "");
        if (through) break;
    }
    CHECK(failed_once);
}

TEST_CASE("a rotation does not make a directory valid where somebody put it") {
    const RotatePlace place;
    place.with([](Filesystem& fs) {
        for (const char* name : {"one", "two"}) {
            const NodeId dir = make_dir(fs, kRootNode, name);
            fs.forget(make(fs, dir, std::string("in ") + name, 10), 1);
            fs.forget(dir, 1);
        }
    });
    const auto lower_names = lower_directories(place);
    REQUIRE(lower_names.size() == 2);
    const auto lower = lower::make_posix_lower_fs();
    const auto fs = place.open(*lower);
    const auto done = rotate_beside(*lower, place.path(), *fs, [&] {
        REQUIRE(::renameat2(AT_FDCWD, lower_names[0].c_str(), AT_FDCWD, lower_names[1].c_str(),
                            RENAME_EXCHANGE) == 0);
    });
    CHECK((done.failed || done.damaged >= 2));
    for (const char* name : {"one", "two"}) {
        const auto found = fs->lookup(kRootNode, name);
        if (!found) continue;
        CHECK(!fs->list(found->node, 0, core::ListMode::kNames,
                        [](const core::ListedEntry&) { return true; }));
        fs->forget(found->node, 1);
    }
    (void)fs->finish();
}

TEST_CASE("the node of a symlink that was replaced is linked no more") {
    const RotatePlace place;
    const auto lower = lower::make_posix_lower_fs();
    const auto fs = place.open(*lower);
    auto made = fs->symlink(kRootNode, "a", "target", {});
    REQUIRE(made);
    REQUIRE(fs->link(made->node, kRootNode, "b"));
    check_done(rotate_beside(*lower, place.path(), *fs));
    const auto linked = fs->link(made->node, kRootNode, "c");
    REQUIRE(!linked);
    CHECK(linked.error().kind == core::ErrorKind::kStale);
    const NodeId again = find(*fs, kRootNode, "b");
    CHECK(again != made->node);
    CHECK(fs->link(again, kRootNode, "c"));
    (void)fs->finish();
}

TEST_CASE("snapshots of listings are another directory's, go when used least, and count if empty") {
    using core::ListingSnapshots;
    const auto of = [](std::size_t names) {
        core::ListingSnapshot snapshot;
        snapshot.items.resize(names);
        return snapshot;
    };
    ListingSnapshots snapshots;
    ListingSnapshots::Place place;
    const auto first = snapshots.begin(7, of(600'000));
    const auto cookie = ListingSnapshots::cookie_of(first.id, 3);
    CHECK(snapshots.find(8, cookie, place) == ListingSnapshots::Known::kNo);
    REQUIRE(snapshots.find(7, cookie, place) == ListingSnapshots::Known::kYes);
    CHECK(place.next == 3);
    const auto second = snapshots.begin(9, of(300'000));
    REQUIRE(snapshots.find(7, cookie, place) == ListingSnapshots::Known::kYes);
    const auto third = snapshots.begin(10, of(300'000));
    CHECK(snapshots.find(7, cookie, place) == ListingSnapshots::Known::kYes);
    const auto gone = ListingSnapshots::cookie_of(second.id, 1);
    CHECK(snapshots.find(9, gone, place) == ListingSnapshots::Known::kForgotten);
    CHECK(snapshots.find(10, gone, place) == ListingSnapshots::Known::kNo);
    for (int i = 0; i < 200'000; ++i) (void)snapshots.begin(12, {});
    const auto large = ListingSnapshots::cookie_of(third.id, 1);
    CHECK(snapshots.find(10, large, place) == ListingSnapshots::Known::kForgotten);
    const auto last = snapshots.begin(12, {});
    snapshots.forget();
    CHECK(snapshots.find(10, large, place) == ListingSnapshots::Known::kNo);  // long ago
    CHECK(snapshots.find(12, ListingSnapshots::cookie_of(last.id, 0), place) ==
          ListingSnapshots::Known::kForgotten);
}

TEST_CASE("attributes of a file without a name that is emptied are rotated") {
    const RotatePlace place;
    fake::FaultLowerFs lower;
    const auto fs = place.open(lower);
    make(*fs, kRootNode, "big", kBig);
    auto nameless = fs->tmpfile(kRootNode, 0600, {});
    REQUIRE(nameless);
    const NodeId node = nameless->node;
    REQUIRE(fs->write(node, 0, bytes_of("text"), core::WriteSource::kCaller, {}));
    set(*fs, node, "value");
    bool met = false;
    lower.before_sync(kBig, [&] {
        core::AttrChange empty;
        empty.size_set = true;
        empty.size = 0;
        REQUIRE(fs->setattr(node, empty));
        met = true;
    });
    check_done(rotate_beside(lower, place.path(), *fs));
    REQUIRE(met);
    CHECK(get(*fs, node) == "value");
    REQUIRE(fs->link(node, kRootNode, "named"));
    CHECK(fs->finish());
    place.with([](Filesystem& again) {
        const auto found = again.lookup(kRootNode, "named");
        REQUIRE(found);
        CHECK(get(again, found->node) == "value");
        again.forget(found->node, 1);
    });
}

TEST_CASE("a directory that somebody moved while the mount knows it is not given up unasked") {
    const RotatePlace place;
    const auto lower = lower::make_posix_lower_fs();
    const auto fs = place.open(*lower);
    for (const char* name : {"one", "two"}) {
        const NodeId dir = make_dir(*fs, kRootNode, name);
        make(*fs, dir, std::string("in ") + name, 10);
        make_dir(*fs, dir, "below");
    }
    make(*fs, kRootNode, "file", 10);
    const auto old_keys = place.derived();
    REQUIRE(old_keys);
    auto directories = lower_directories(place);
    REQUIRE(directories.size() == 2);
    const auto config = [&] {
        std::ifstream file(place.path("extencfs.conf"));
        return std::string(std::istreambuf_iterator<char>(file), {});
    };
    const std::string config_before = config();
    const auto exchange = [&] {
        REQUIRE(::renameat2(AT_FDCWD, directories[0].c_str(), AT_FDCWD, directories[1].c_str(),
                            RENAME_EXCHANGE) == 0);
    };
    exchange();
    const auto refused = rotate_beside(*lower, place.path(), *fs);
    REQUIRE(refused.failed);
    CHECK(refused.failed->kind == daemon::FailureKind::kDamage);
    CHECK(config() == config_before);
    exchange();
    // Meanwhile: it stops, and goes on when they are back.
    const auto stopped = rotate_beside(*lower, place.path(), *fs, exchange);
    REQUIRE(stopped.failed);
    CHECK(stopped.failed->kind == daemon::FailureKind::kDamage);
    CHECK(lower_directories(place) == directories);  // none has its new name
    exchange();
    check_done(rotate_beside(*lower, place.path(), *fs));
    for (const char* name : {"one", "two"}) {
        const NodeId dir = find(*fs, kRootNode, name);
        CHECK(fs->lookup(dir, std::string("in ") + name));
    }
    // Given up when asked for: what is below is reached by nothing that the mount knew.
    const NodeId below = find(*fs, find(*fs, kRootNode, "one"), "below");
    directories = lower_directories(place);
    REQUIRE(directories.size() == 2);
    exchange();
    const auto given_up = rotate_beside(*lower, place.path(), *fs, {}, true);
    INFO((given_up.failed ? given_up.failed->sentence : "done"));
    CHECK(!given_up.failed);
    CHECK(given_up.damaged == 2);
    CHECK(!fs->create(below, "new", 0600, {}));
    CHECK(fs->lookup(kRootNode, "file"));
    (void)fs->finish();
}
