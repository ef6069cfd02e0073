// SPDX-License-Identifier: Apache-2.0
// Changes below that no request asked for, or that come beside what one asked for: they too are
// closed towards the sink (own_change.h).
#include <sys/prctl.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>

#include "tests/unit/core/recording_sink.h"
#include "tests/unit/core/script.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

TEST_CASE("sink: what is mended without being asked for is a change") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    std::string file_below, directory_below;
    {
        auto fs = open_fs(*real, dir, {.clean = true});
        auto f = fs->create(kRootNode, "f", 0644, {});
        REQUIRE(f);
        REQUIRE(fs->write(f->node, 0, bytes_of("text"), WriteSource::kCaller, {}));
        REQUIRE(fs->mkdir(kRootNode, "d", 0755, {}));
        CHECK(fs->finish());
        for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
            if (entry.is_directory()) directory_below = entry.path();
            struct stat is {};
            if (::stat(entry.path().c_str(), &is) == 0 && is.st_ino == f->attr.st_ino)
                file_below = entry.path();
        }
    }
    // As a killed writer leaves them: bytes beyond the end, no id yet, a file without its name.
    std::filesystem::resize_file(file_below, std::filesystem::file_size(file_below) + 5000);
    REQUIRE(std::filesystem::remove(directory_below + "/" + volume::kDirFileName));
    const auto grown = std::filesystem::file_size(file_below);
    const auto leftover =
        std::filesystem::path(dir.path()) / (std::string(volume::kTempPrefix) + "left");
    std::ofstream(leftover) << "x";

    const auto sink = std::make_shared<RecordingSink>();
    CheckedLower lower(*real, *sink);
    const std::size_t before = threads_now();
    auto fs = open_fs(lower, dir, {.clean = false, .sink = sink});
    wait_for_scan(before);
    CHECK(std::filesystem::file_size(file_below) < grown);
    CHECK(std::filesystem::exists(directory_below + "/" + volume::kDirFileName));
    CHECK_FALSE(std::filesystem::exists(leftover));
    CHECK(sink->faults() == "");
    CHECK(sink->nodes() == 1);
    CHECK(fs->finish());
}

namespace {

class NoLists final : public BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    lower::Result<void> list_from(
        int d, std::uint64_t cookie,
        const std::function<bool(const lower::DirEntry&)>& each) override {
        if (failing) return std::unexpected(lower::Errno{EIO});
        return BorrowedLower::list_from(d, cookie, each);
    }
    std::atomic<bool> failing{true};
};

class NoTmpfiles final : public BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    lower::Result<lower::Fd> open_tmpfile(int, mode_t) override {
        return std::unexpected(lower::Errno{EOPNOTSUPP});
    }
};

}  // namespace

TEST_CASE("sink: what is mended of a node that is known is a change") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    {
        auto fs = open_fs(*real, dir, {.clean = true});
        auto f = fs->create(kRootNode, "f", 0644, {});
        REQUIRE(f);
        REQUIRE(fs->write(f->node, 0, bytes_of("text"), WriteSource::kCaller, {}));
        REQUIRE(fs->mkdir(kRootNode, "d", 0755, {}));
        CHECK(fs->finish());
    }
    for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
        if (entry.is_directory())
            REQUIRE(std::filesystem::remove(entry.path() / volume::kDirFileName));
        else if (!entry.path().filename().string().starts_with(volume::kReservedPrefix))
            std::filesystem::resize_file(entry.path(), entry.file_size() + 5000);
    }
    // The scan, which would come first, cannot read the directory.
    const auto sink = std::make_shared<RecordingSink>();
    NoLists unlisted(*real);
    CheckedLower lower(unlisted, *sink);
    const std::size_t before = threads_now();
    auto fs = open_fs(lower, dir, {.clean = false, .sink = sink});
    wait_for_scan(before);
    unlisted.failing = false;
    Session session(*fs);
    auto f = fs->lookup(kRootNode, "f");
    auto d = fs->lookup(kRootNode, "d");
    REQUIRE(session.keep(f));
    REQUIRE(session.keep(d));
    CHECK(f->attr.st_size == 4);
    REQUIRE(fs->write(f->node, 4, bytes_of("more"), WriteSource::kCaller, {}));
    REQUIRE(session.keep(fs->create(d->node, "in it", 0644, {})));
    CHECK(sink->faults() == "");
    // And a listing that fails says nothing of the directory.
    unlisted.failing = true;
    CHECK_FALSE(fs->list(kRootNode, 0, ListMode::kNames, [](const auto&) { return true; }));
    CHECK(sink->spoilt == std::vector{kRootNode});
    session.forget_all();
}

TEST_CASE("sink: without unnamed files a name comes and goes, which is a change") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    const auto sink = std::make_shared<RecordingSink>();
    NoTmpfiles named(*real);
    CheckedLower lower(named, *sink);
    auto fs = open_fs(lower, dir, {.clean = true, .sink = sink});
    Session session(*fs);
    REQUIRE(session.keep(fs->tmpfile(kRootNode, 0600, {})));
    REQUIRE(session.keep(fs->create(kRootNode, "f", 0644, {})));
    CHECK(sink->faults() == "");
    for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
        CHECK_FALSE(entry.path().filename().string().starts_with(volume::kTempPrefix));
    session.forget_all();
    CHECK(sink->nodes() == 1);
}

TEST_CASE("sink: an ordinary user's mode lifted for a moment is a change") {
    if (::geteuid() != 0) return;  // then another test does it
    constexpr uid_t kNobody = 65534;
    const auto dir = fake::ScratchDir::in_memory();
    REQUIRE(::fchown(dir.fd(), kNobody, kNobody) == 0);
    REQUIRE(::seteuid(kNobody) == 0);
    ::prctl(PR_SET_DUMPABLE, 1);  // or /proc/self is root's
    {
        const auto real = lower::make_posix_lower_fs();
        const auto sink = std::make_shared<RecordingSink>();
        CheckedLower lower(*real, *sink);
        auto fs = open_fs(lower, dir, {.clean = true, .sink = sink});
        Session session(*fs);
        REQUIRE(session.keep(fs->create(kRootNode, "f", 0600, {})));
        AttrChange mode;
        mode.mode_set = true;
        REQUIRE(fs->setattr(*session.node("f"), mode));
        session.forget_all();
        auto again = fs->lookup(kRootNode, "f");
        REQUIRE(session.keep(again));
        IoBuffer buffer;
        CHECK(fs->read(again->node, 0, 10, buffer));
        // What was looked at before it is not published: that the gate sees to.
        CHECK(sink->faults().find("not closed") == std::string::npos);
        session.forget_all();
    }
    REQUIRE(::seteuid(0) == 0);
}
