// SPDX-License-Identifier: Apache-2.0
// A migration keeps everything, whatever happens while it runs; the old volume is never written.
#include "tests/unit/migrate/two_volumes.h"

#include <fcntl.h>

using namespace extencfs;
using namespace extencfs::migrate;

namespace {

core::LegacyVolume ordinary() {
    return core::legacy_volume({1024, 8, 0, true, true, false}, legacy::NameScheme::kBlock, true,
                               false);
}

// The lower name of the file that is that many bytes long below.
std::string lower_file(const fake::ScratchDir& dir, off_t at_least) {
    std::string found;
    const auto fs = lower::make_posix_lower_fs();
    REQUIRE(fs->list(dir.fd(), [&](const lower::DirEntry& entry) {
        const auto is = fs->stat_at(dir.fd(), std::string(entry.name));
        if (is && S_ISREG(is->st_mode) && is->st_size >= at_least && is->st_size < 400'000)
            found = entry.name;
        return true;
    }));
    REQUIRE(!found.empty());
    return found;
}

}  // namespace

TEST_CASE("all kinds of files are copied from volumes of every kind, and the old one not changed") {
    for (unsigned jobs : {1U, 3U}) {
        FilledVolume old(ordinary());
        old.lower().forget_calls();
        const auto dir = fake::ScratchDir::in_memory();
        fake::FaultLowerFs lower;
        const Run run = migrate_once(old, lower, dir, jobs);
        REQUIRE(run.outcome);
        CHECK(run.problems.empty());
        CHECK(old.lower().count(fake::Calls::mutating()) == 0);
        CHECK(differences(old, dir) == "");
        auto journal = Journal::open(lower, dir.fd());
        REQUIRE((journal && *journal));
        CHECK((*journal)->is_complete());
    }
}

TEST_CASE("holes stay holes, and access times stay") {
    FilledVolume old(ordinary());
    const auto dir = fake::ScratchDir::in_memory();
    fake::FaultLowerFs lower;
    REQUIRE(migrate_once(old, lower, dir).outcome);
    LeftOutNames left_out;
    const auto from = old.open(left_out);
    const auto to = core::open_fs(lower, dir, {.clean = true});
    const auto a = find_path(*from, "sparse");
    const auto b = find_path(*to, "sparse");
    REQUIRE((a && b));
    CHECK(a->attr.st_atim.tv_nsec == b->attr.st_atim.tv_nsec);
    CHECK(b->attr.st_blocks * 512 < 30'000);
    // The header's page counts as data, also of the first block.
    const auto hole = to->seek(b->node.id(), 0, SEEK_HOLE);
    REQUIRE(hole);
    CHECK(*hole < 10'000);
    const auto data = to->seek(b->node.id(), *hole, SEEK_DATA);
    REQUIRE(data);
    CHECK(*data > 190'000);
}

TEST_CASE("a second run copies nothing again") {
    FilledVolume old(ordinary());
    const auto dir = fake::ScratchDir::in_memory();
    fake::FaultLowerFs lower;
    REQUIRE(migrate_once(old, lower, dir).outcome);
    lower.forget_calls();
    const Run again = migrate_once(old, lower, dir);
    REQUIRE(again.outcome);
    CHECK(again.skipped > 10);
    CHECK(lower.count(fake::Calls::named("open_tmpfile")) == 0);
    CHECK(differences(old, dir) == "");
}

TEST_CASE("what is damaged in the old volume is told by name, and the rest copied") {
    FilledVolume old(ordinary());
    const std::string victim = lower_file(old.dir(), 300'000);
    const int fd = ::open(old.dir().path(victim).c_str(), O_RDWR);
    REQUIRE(::pwrite(fd, "damage", 6, 50'000) == 6);
    ::close(fd);
    REQUIRE(::mkdir(old.dir().path("foreign name").c_str(), 0700) == 0);
    const auto dir = fake::ScratchDir::in_memory();
    fake::FaultLowerFs lower;
    const Run run = migrate_once(old, lower, dir);
    REQUIRE(run.outcome);
    std::vector<std::string> paths;
    for (const Problem& problem : run.problems) paths.push_back(problem.path);
    std::ranges::sort(paths);
    CHECK(paths == std::vector<std::string>{"a third name", "d/another name of it", "foreign name",
                                            "large"});
    CHECK(differences(old, dir, run.problems) == "");
    CHECK(differences(old, dir).contains("large: it is not in the new volume"));
    auto journal = Journal::open(lower, dir.fd());
    REQUIRE((journal && *journal));
    CHECK((*journal)->missing() == 4);
}

TEST_CASE("a migration killed at any call goes on where it was") {
    FilledVolume old(ordinary());
    old.lower().forget_calls();
    std::uint64_t calls = 0;
    for (std::uint64_t n = 1;; ++n) {
        INFO("died at call " << n);
        const auto dir = fake::ScratchDir::in_memory();
        fake::FaultLowerFs lower;
        lower.die_at(n);
        const Run first = migrate_once(old, lower, dir);
        const bool died = lower.dead();
        lower.revive();
        if (!died) {
            calls = n;
            REQUIRE(first.outcome);
            break;
        }
        const Run second = migrate_once(old, lower, dir);
        REQUIRE(second.outcome);
        CHECK(second.problems.empty());
        CHECK(differences(old, dir) == "");
    }
    CHECK(calls > 100);
    CHECK(old.lower().count(fake::Calls::mutating()) == 0);
}

TEST_CASE("a full disk at any call ends a migration, and it goes on once there is room") {
    FilledVolume old(ordinary());
    for (std::uint64_t n = 1;; n += 2) {
        INFO("full at call " << n);
        const auto dir = fake::ScratchDir::in_memory();
        fake::FaultLowerFs lower;
        // Full is not full for one call only.
        for (std::uint64_t more = 0; more < 20; ++more)
            lower.fail_at(n + more, ENOSPC, fake::Calls::mutating());
        const Run first = migrate_once(old, lower, dir);
        const bool reached = lower.count(fake::Calls::mutating()) >= n;
        lower.revive();
        if (!reached) break;
        const Run second = migrate_once(old, lower, dir);
        REQUIRE(second.outcome);
        CHECK(second.problems.empty());
        CHECK(differences(old, dir) == "");
    }
}

TEST_CASE("a power cut at any call loses nothing that the journal calls done") {
    FilledVolume old(ordinary());
    for (std::uint64_t n = 1;; ++n) {
        INFO("cut at call " << n);
        const auto dir = fake::ScratchDir::in_memory();
        fake::FaultLowerFs lower;
        lower.track_power_loss();
        lower.die_at(n);
        (void)migrate_once(old, lower, dir);
        if (!lower.dead()) break;
        INFO(lower.power_cut(n));
        const Run second = migrate_once(old, lower, dir);
        REQUIRE(second.outcome);
        CHECK(second.problems.empty());
        CHECK(differences(old, dir) == "");
    }
}
