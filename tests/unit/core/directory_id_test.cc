// SPDX-License-Identifier: Apache-2.0
// A directory keeps its id, which its attributes are bound to, also where its removal or its
// replacement fails, and beside somebody who opens it meanwhile.
#include <atomic>
#include <chrono>
#include <condition_variable>

#include "tests/unit/core/recorded_lower.h"
#include "tests/unit/core/tampered_volume.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

// Holds the next opening of a directory until its removal has begun below; the removal goes on when
// the opening is over, or after a moment if it waits for the removal.
class OpenBesideRmdir final : public BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    void arm() {
        const std::lock_guard lock(mutex_);
        armed_ = true;
    }
    void wait_until_held() {
        std::unique_lock lock(mutex_);
        REQUIRE(changed_.wait_for(lock, std::chrono::seconds(10), [&] { return held_; }));
    }
    void opened() {
        const std::lock_guard lock(mutex_);
        over_ = true;
        changed_.notify_all();
    }

    lower::Result<lower::Fd> open(int d, const std::string& n, int flags, mode_t mode) override {
        {
            std::unique_lock lock(mutex_);
            if (armed_ && (flags & O_DIRECTORY) != 0) {
                armed_ = false;
                held_ = true;
                changed_.notify_all();
                changed_.wait_for(lock, std::chrono::seconds(10), [&] { return removing_; });
            }
        }
        return BorrowedLower::open(d, n, flags, mode);
    }
    lower::Result<void> rmdir(int d, const std::string& n) override {
        {
            std::unique_lock lock(mutex_);
            removing_ = true;
            changed_.notify_all();
            changed_.wait_for(lock, std::chrono::milliseconds(200), [&] { return over_; });
        }
        return BorrowedLower::rmdir(d, n);
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool armed_ = false, held_ = false, removing_ = false, over_ = false;
};

// Holds an opening of a directory, when it is open below, until something else is over, or for a
// moment if that waits for the opening.
class HeldOpening final : public BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    std::atomic<bool> armed{false}, held{false}, over{false};
    void wait_until_held() const {
        for (int i = 0; i < 10'000 && !held; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        REQUIRE(held);
    }
    lower::Result<lower::Fd> open(int d, const std::string& n, int flags, mode_t mode) override {
        auto fd = BorrowedLower::open(d, n, flags, mode);
        if ((flags & O_DIRECTORY) == 0 || !armed.exchange(false)) return fd;
        held = true;
        for (int i = 0; i < 300 && !over; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return fd;
    }
};

}  // namespace

TEST_CASE("a directory that nobody has in use keeps its attributes when it cannot be replaced") {
    TamperedVolume v;
    v.make_directory("a");
    REQUIRE(v.fs().set_xattr(v.make_directory("a/b"), "user.x", bytes_of("kept"), 0));
    v.session().forget_all();
    CHECK_FALSE(v.fs().rename(kRootNode, "a", v.node("a"), "b", lower::RenameMode::kReplace));
    const auto value = v.fs().get_xattr(v.node("a/b"), "user.x");
    REQUIRE(value);
    CHECK(text_of(*value) == "kept");
    CHECK(v.damage().text() == "");
}

TEST_CASE("a directory that nobody has in use keeps its attributes when it cannot be removed") {
    TamperedVolume v;
    REQUIRE(v.fs().set_xattr(v.make_directory("d"), "user.x", bytes_of("kept"), 0));
    for (const char* call : {"unlink", "rmdir"}) {
        INFO(call);
        v.session().forget_all();
        v.lower().fail_at(1, EIO, fake::Calls::named(call));
        CHECK_FALSE(v.fs().rmdir(kRootNode, "d"));
        const auto value = v.fs().get_xattr(v.node("d"), "user.x");
        REQUIRE(value);
        CHECK(text_of(*value) == "kept");
        CHECK(v.damage().text() == "");
    }
}

TEST_CASE("a directory keeps its attributes when its id file went though that was denied") {
    class Denied final : public BorrowedLower {
      public:
        using BorrowedLower::BorrowedLower;
        lower::Result<void> unlink(int d, const std::string& n) override {
            if (auto done = BorrowedLower::unlink(d, n); !done) return done;
            return std::unexpected(lower::Errno{EIO});
        }
    };
    TamperedVolume v;
    REQUIRE(v.fs().set_xattr(v.make_directory("d"), "user.x", bytes_of("kept"), 0));
    REQUIRE(v.unmount());
    Denied lower(v.lower());
    const auto fs = open_fs(lower, v.dir(), {.clean = true});
    CHECK_FALSE(fs->rmdir(kRootNode, "d"));
    auto d = fs->lookup(kRootNode, "d");
    REQUIRE(d);
    CHECK(fs->get_xattr(d->node, "user.x"));
    CHECK_FALSE(fs->rmdir(kRootNode, "d"));
    CHECK(fs->get_xattr(d->node, "user.x"));
    fs->forget(d->node, 1);
    v.mount();
    CHECK(v.fs().get_xattr(v.node("d"), "user.x"));
}

TEST_CASE("an id file that was put back is owed to the next fsync") {
    TamperedVolume v;
    v.make_directory("d");
    v.make_file("f", "x");
    REQUIRE(v.unmount());
    Recorded lower(v.lower());
    const auto fs = open_fs(lower, v.dir(), {.clean = true});
    v.lower().fail_at(1, EIO, fake::Calls::named("rmdir"));
    CHECK_FALSE(fs->rmdir(kRootNode, "d"));
    auto f = fs->lookup(kRootNode, "f");
    REQUIRE(f);
    lower.calls.clear();
    REQUIRE(fs->fsync(f->node, false));
    CHECK(lower.has("syncfs"));
    fs->forget(f->node, 1);
    v.mount();
}

TEST_CASE("a directory whose id cannot be written is not made") {
    TamperedVolume v;
    v.lower().fail_at(1, ENOSPC, fake::Calls::named("pwrite"));
    CHECK_FALSE(v.fs().mkdir(kRootNode, "d", 0755, {}));
    const auto found = v.fs().lookup(kRootNode, "d");
    REQUIRE_FALSE(found);
    CHECK(found.error().kind == ErrorKind::kNotFound);
}

TEST_CASE("opening a directory beside its removal does not make another id") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    {
        const auto fs = open_fs(*real, dir, {.clean = true});
        auto d = fs->mkdir(kRootNode, "d", 0755, {});
        REQUIRE(d);
        REQUIRE(fs->set_xattr(d->node, "user.x", bytes_of("kept"), 0));
        fs->forget(d->node, 1);
        REQUIRE(fs->finish());
    }
    OpenBesideRmdir lower(*real);
    Damage damage;
    const auto fs = open_fs(lower, dir, {.clean = true, .damage = &damage});
    auto d = fs->lookup(kRootNode, "d");
    REQUIRE(d);
    lower.arm();
    std::thread opener([&] {
        (void)fs->list(d->node, 0, ListMode::kNames, [](const ListedEntry&) { return true; });
        lower.opened();
    });
    lower.wait_until_held();
    const auto removed = fs->rmdir(kRootNode, "d");
    opener.join();
    CHECK(removed);
    if (!removed) CHECK(fs->get_xattr(d->node, "user.x"));
    CHECK(damage.text() == "");
    fs->forget(d->node, 1);
}

TEST_CASE("opening a directory beside two renames of it does not find it misplaced") {
    TamperedVolume v;
    v.make_directory("a");
    v.make_file("a/inner", "x");
    REQUIRE(v.unmount());
    HeldOpening lower(v.lower());
    Damage damage;
    const auto fs = open_fs(lower, v.dir(), {.clean = true, .damage = &damage});
    auto a = fs->lookup(kRootNode, "a");
    REQUIRE(a);
    lower.armed = true;
    std::atomic<bool> listed{false};
    std::thread opener([&] {
        listed = fs->list(a->node, 0, ListMode::kNames, [](const ListedEntry&) {
                       return true;
                   }).has_value();
    });
    lower.wait_until_held();
    CHECK(fs->rename(kRootNode, "a", kRootNode, "b", lower::RenameMode::kReplace));
    CHECK(fs->rename(kRootNode, "b", kRootNode, "c", lower::RenameMode::kReplace));
    lower.over = true;
    opener.join();
    CHECK(listed);
    CHECK(damage.text() == "");
    fs->forget(a->node, 1);
    v.mount();
}

TEST_CASE("a directory that is removed before the scan enters it does not spoil the scan") {
    TamperedVolume v;
    v.make_directory("a");
    v.make_directory("b");
    REQUIRE(v.unmount());
    HeldOpening lower(v.lower());
    lower.armed = true;
    const std::size_t threads = threads_now();
    const auto fs = open_fs(lower, v.dir(), {.clean = false});
    lower.wait_until_held();
    CHECK(fs->rmdir(kRootNode, "a"));
    CHECK(fs->rmdir(kRootNode, "b"));
    lower.over = true;
    wait_for_scan(threads);
    CHECK(fs->finish());
    v.mount();
}
