// SPDX-License-Identifier: Apache-2.0
// What earns the clean mark, and what a mount after an unclean end does for it.
#include <atomic>

#include "encfs/volume/geometry.h"
#include "tests/unit/core/tampered_volume.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

// Some inodes are on another device.
class OtherDevice final : public BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    std::set<std::uint64_t> foreign;

    lower::Result<struct stat> stat_at(int d, const std::string& n) override {
        return judged(BorrowedLower::stat_at(d, n));
    }
    lower::Result<struct stat> stat(int fd) override { return judged(BorrowedLower::stat(fd)); }

  private:
    lower::Result<struct stat> judged(lower::Result<struct stat> is) const {
        if (is && foreign.contains(is->st_ino)) is->st_dev += 1;
        return is;
    }
};

// One name that answers with an error, to a few calls.
class Refusing final : public BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    std::string name, call;
    int error = EACCES;

    lower::Result<lower::Fd> open(int d, const std::string& n, int flags, mode_t mode) override {
        if (n == name && call == "open") return std::unexpected(lower::Errno{error});
        return BorrowedLower::open(d, n, flags, mode);
    }
    lower::Result<struct stat> stat_at(int d, const std::string& n) override {
        if (n == name && call == "stat") return std::unexpected(lower::Errno{error});
        return BorrowedLower::stat_at(d, n);
    }
};

}  // namespace

TEST_CASE("after an unclean end the scan mends every file, takes leftovers away and earns clean") {
    TamperedVolume v;
    const NodeId f = v.make_file("f", stamped(1, 0, 20'000));
    v.make_directory("d");
    v.make_file("d/inner", stamped(2, 0, 5000));
    const std::string lower = v.lower_of("f"), inner = v.lower_of("d/inner");
    const std::string dir = v.lower_of("d");
    REQUIRE(v.unmount());
    (void)f;
    for (const auto& path : {lower, inner})
        put_lower_bytes(path, lower_bytes(path) + std::string(9000, 'x'));
    put_lower_bytes(dir + "/extencfs.t.left", "x");
    put_lower_bytes(v.dir().path("extencfs.t.left"), "x");
    v.mount(false);
    CHECK(v.unmount());
    CHECK(std::filesystem::file_size(lower) == volume::hint_of_size(20'000));
    CHECK(std::filesystem::file_size(inner) == volume::hint_of_size(5000));
    CHECK_FALSE(std::filesystem::exists(dir + "/extencfs.t.left"));
    CHECK_FALSE(std::filesystem::exists(v.dir().path("extencfs.t.left")));
}

TEST_CASE("a clean volume is not scanned") {
    TamperedVolume v;
    put_lower_bytes(v.dir().path("extencfs.t.left"), "x");
    v.remount(true);
    v.wait_for_the_scan();
    CHECK(std::filesystem::exists(v.dir().path("extencfs.t.left")));
}

TEST_CASE("damaged things do not keep a volume from being clean again") {
    TamperedVolume v;
    v.make_file("f", stamped(1, 0, 20'000));
    v.make_directory("d");
    v.make_file("d/inner", "x");
    const std::string lower = v.lower_of("f"), id = v.lower_of("d") + "/extencfs.dir";
    REQUIRE(v.unmount());
    SECTION("a header") {
        flip(lower, 20);
    }
    SECTION("the last fragment") {
        flip(lower, volume::fragment(8).cipher_off + 20);
    }
    SECTION("a directory") {
        flip(id, 20);
    }
    v.mount(false);
    CHECK(v.unmount());
}

TEST_CASE("a scan that did not reach everything does not earn clean") {
    TamperedVolume v;
    v.make_directory("d");
    v.make_file("d/inner", stamped(1, 0, 5000));
    const std::string dir = v.lower_of("d"), inner = v.lower_of("d/inner");
    REQUIRE(v.unmount());
    const auto real = lower::make_posix_lower_fs();
    const auto finish_of = [&](lower::LowerFs& lower) {
        const std::size_t threads = threads_now();
        const auto fs = open_fs(lower, v.dir(), {.clean = false});
        wait_for_scan(threads);
        return fs->finish();
    };
    SECTION("a directory that cannot be opened") {
        Refusing lower(*real);
        lower.name = name_below(dir);
        lower.call = "open";
        CHECK_FALSE(finish_of(lower));
    }
    SECTION("one that cannot be listed") {
        fake::FaultLowerFs lower;
        lower.fail_at(1, EIO, fake::Calls::named("list"));
        CHECK_FALSE(finish_of(lower));
    }
    SECTION("an entry that cannot be looked at") {
        Refusing lower(*real);
        lower.name = name_below(inner);
        lower.call = "stat";
        CHECK_FALSE(finish_of(lower));
    }
    SECTION("a file that cannot be opened") {
        Refusing lower(*real);
        lower.name = name_below(inner);
        lower.call = "open";
        lower.error = EIO;
        CHECK_FALSE(finish_of(lower));
    }
    SECTION("a file that cannot be mended") {
        put_lower_bytes(inner, lower_bytes(inner) + std::string(9000, 'x'));
        fake::FaultLowerFs lower;
        lower.fail_at(1, EIO, fake::Calls::named("truncate"));
        CHECK_FALSE(finish_of(lower));
    }
    SECTION("a last sync that fails") {
        fake::FaultLowerFs lower;
        lower.fail_at(2, EIO, fake::Calls::named("syncfs"));
        CHECK_FALSE(finish_of(lower));
    }
    v.mount(false);
    CHECK(v.unmount());
}

TEST_CASE("a scan that is cut short by the unmount does not earn clean") {
    // Holds the scan at its second look until the file system has begun to finish.
    class Slow final : public BorrowedLower {
      public:
        using BorrowedLower::BorrowedLower;
        lower::Result<struct stat> stat_at(int d, const std::string& n) override {
            if (++looked_ == most) {
                reached = true;
                while (!finishing) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                std::this_thread::sleep_for(std::chrono::milliseconds(200));
            }
            return BorrowedLower::stat_at(d, n);
        }
        int most = 2;
        std::atomic<bool> reached{false}, finishing{false};

      private:
        std::atomic<int> looked_{0};
    };
    TamperedVolume v;
    const auto real = lower::make_posix_lower_fs();
    Slow lower(*real);
    SECTION("among many files") {
        for (int i = 0; i < 20; ++i) v.make_file("f" + std::to_string(i), "x");
    }
    SECTION("with a directory left to enter") {
        v.make_directory("d");
        lower.most = 1;
    }
    REQUIRE(v.unmount());
    const auto fs = open_fs(lower, v.dir(), {.clean = false});
    for (int i = 0; i < 10'000 && !lower.reached; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    lower.finishing = true;
    REQUIRE(lower.reached);
    CHECK_FALSE(fs->finish());
    v.mount();
}

TEST_CASE("what was acknowledged and could not be written does not leave a clean volume") {
    TamperedVolume v;
    const NodeId f = v.make_file("f", stamped(1, 0, 5000));
    SECTION("at the end") {
        const std::string page = stamped(2, 8192, 4096);
        REQUIRE(v.fs().write(f, 8192 * 2, bytes_of(page), WriteSource::kPageCache, {}));
        v.lower().fail_at(1, EIO, fake::Calls::named("pwrite"));
        CHECK_FALSE(v.fs().finish());
    }
    SECTION("when the file was forgotten") {
        const std::string page = stamped(2, 8192, 4096);
        REQUIRE(v.fs().write(f, 8192 * 2, bytes_of(page), WriteSource::kPageCache, {}));
        v.lower().fail_at(1, EIO, fake::Calls::named("pwrite"));
        v.session().forget_all();
        CHECK_FALSE(v.fs().finish());
    }
    v.kill();
}

TEST_CASE("nothing on another lower file system is shown, entered or mended") {
    TamperedVolume v;
    v.make_directory("d");
    v.make_file("d/inner", "x");
    v.make_file("f", stamped(1, 0, 5000));
    const std::string dir = v.lower_of("d"), file = v.lower_of("f");
    REQUIRE(v.unmount());
    put_lower_bytes(file, lower_bytes(file) + std::string(9000, 'x'));
    const std::uint64_t grown = std::filesystem::file_size(file);
    const auto real = lower::make_posix_lower_fs();
    OtherDevice lower(*real);
    for (const auto& path : {dir, file}) {
        struct stat is {};
        REQUIRE(::lstat(path.c_str(), &is) == 0);
        lower.foreign.insert(is.st_ino);
    }
    SECTION("looked up") {
        const auto fs = open_fs(lower, v.dir(), {.clean = true});
        for (const char* name : {"d", "f"}) {
            const auto found = fs->lookup(kRootNode, name);
            REQUIRE_FALSE(found);
            CHECK(found.error().kind == ErrorKind::kCrossesMount);
        }
        CHECK(fs->node_count() == 1);
    }
    SECTION("mounted over in use") {
        const auto mounted_over = std::exchange(lower.foreign, {});
        const auto fs = open_fs(lower, v.dir(), {.clean = true});
        auto d = fs->lookup(kRootNode, "d");
        REQUIRE(d);
        lower.foreign = mounted_over;
        const auto inner = fs->lookup(d->node, "inner");
        REQUIRE_FALSE(inner);
        CHECK(inner.error().kind == ErrorKind::kCrossesMount);
        fs->forget(d->node, 1);
    }
    SECTION("scanned") {
        const std::size_t threads = threads_now();
        const auto fs = open_fs(lower, v.dir(), {.clean = false});
        wait_for_scan(threads);
        CHECK(std::filesystem::file_size(file) == grown);
        CHECK(fs->finish());
    }
    v.mount();
}
