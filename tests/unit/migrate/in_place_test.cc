// SPDX-License-Identifier: Apache-2.0
// A migration in place keeps everything, whatever happens while it runs: each file is there, whole,
// in one of the two formats at every moment.
#include "encfs/daemon/volume_source.h"
#include "tests/unit/migrate/in_place_for_tests.h"

using namespace extencfs;
using namespace extencfs::migrate;

namespace {

struct stat root_of_dir(const fake::ScratchDir& dir) {
    struct stat is {};
    REQUIRE(::fstat(dir.fd(), &is) == 0);
    return is;
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

std::vector<std::string> paths_of(const Run& run) {
    std::vector<std::string> paths;
    for (const Problem& problem : run.problems) paths.push_back(problem.path);
    std::ranges::sort(paths);
    return paths;
}

void end(Converted& volume) {
    InPlace place(volume.lower(), volume.dir().fd());
    const auto done = place.finish();
    INFO((done ? "" : done.error().sentence));
    REQUIRE(done);
}

// Without the times of directories: one that is put back in a test is another inode with new times.
std::string but_for_directories(const std::string& differences) {
    std::string rest;
    for (std::size_t at = 0; at < differences.size();) {
        const auto line = differences.substr(at, differences.find('\n', at) - at);
        at += line.size() + 1;
        const auto path = line.substr(0, line.find(':'));
        const bool directory = path == "d" || path == "d/closed" || path == "d/empty directory" ||
                               path == std::string(165, 'l');
        if (!directory || !line.ends_with("its modification time differs")) rest += line + "\n";
    }
    return rest;
}

void check_whole(Converted& volume, FilledVolume& same) {
    CHECK(differences(same, volume.dir()) == "");
    CHECK(left_over(volume) == std::string(kWorkDone) + " ");
    CHECK(volume.exists(volume::kConfigName));
}

}  // namespace

TEST_CASE("a volume is converted in place, with everything that is told of its files") {
    for (const bool plain : {false, true}) {
        auto kind = plain ? core::legacy_volume({4096, 8, 8, true, true, false},
                                                legacy::NameScheme::kNull, false, false)
                          : ordinary_volume();
        INFO("plain names: " << plain);
        FilledVolume same(kind);
        Converted volume(kind);
        const auto before = root_of_dir(volume.dir());
        const Run run = volume.run({.compare = Compare::kBeforeRemoval});
        INFO((run.outcome ? "" : run.outcome.error().sentence));
        REQUIRE(run.outcome);
        CHECK(run.problems.empty());
        check_whole(volume, same);
        CHECK(volume.counts().verified_files == volume.counts().copied_files);
        CHECK(volume.counts().verified_directories == 4);
        CHECK(volume.counts().differences == 0);
        CHECK(text_at(volume.dir().path(std::string(kWorkDone) + "/old/.encfs6.xml")) ==
              kOldConfig);
        end(volume);
        CHECK(left_over(volume) == "");
        CHECK(differences(same, volume.dir()) == "");
        const auto after = root_of_dir(volume.dir());
        CHECK(before.st_atim.tv_nsec == after.st_atim.tv_nsec);
        CHECK(before.st_mtim.tv_sec == after.st_mtim.tv_sec);
        CHECK(before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    }
}

TEST_CASE("holes and access times stay in place") {
    FilledVolume same(ordinary_volume());
    Converted volume;
    REQUIRE(volume.run().outcome);
    LeftOutNames left_out;
    const auto real = lower::make_posix_lower_fs();
    const auto from = same.open(left_out);
    const auto to = core::open_fs(*real, volume.dir(), {.clean = true});
    for (const char* path : {"", "sparse", "d", "d/closed", "small", "d/empty directory"}) {
        INFO(path);
        const auto a = find_path(*from, path);
        const auto b = find_path(*to, path);
        REQUIRE((a && b));
        CHECK(a->attr.st_atim.tv_sec == b->attr.st_atim.tv_sec);
        CHECK(a->attr.st_atim.tv_nsec == b->attr.st_atim.tv_nsec);
    }
    CHECK(find_path(*to, "sparse")->attr.st_blocks * 512 < 30'000);
}

TEST_CASE(
    "what is damaged stays in the old format, is told by name, and opens with the old "
    "configuration") {
    for (const auto compare : {Compare::kNo, Compare::kBeforeRemoval}) {
        FilledVolume same(ordinary_volume());
        Converted volume;
        const std::string victim = lower_file(volume.dir(), 300'000);
        const int fd = ::open(volume.dir().path(victim).c_str(), O_RDWR);
        REQUIRE(::pwrite(fd, "damage", 6, 50'000) == 6);
        ::close(fd);
        REQUIRE(::mkdir(volume.dir().path("foreign name").c_str(), 0700) == 0);
        const Run run = volume.run({.compare = compare});
        REQUIRE(run.outcome);
        CHECK(paths_of(run) == std::vector<std::string>{"a third name", "d/another name of it",
                                                        "foreign name", "large"});
        CHECK(differences(same, volume.dir(), run.problems).find("large") == std::string::npos);
        // Still there, under all its names, and the configuration too.
        struct stat is {};
        REQUIRE(::stat(volume.dir().path(victim).c_str(), &is) == 0);
        CHECK(is.st_nlink == 3);
        CHECK(volume.exists("foreign name"));
        CHECK(text_at(volume.dir().path(".encfs6.xml")) == kOldConfig);
        const auto real = lower::make_posix_lower_fs();
        const auto old = open_at(*real, volume.directory("."),
                                 core::legacy_format(ordinary_volume()), nullptr, true);
        REQUIRE(old);
        const auto large = find_path(**old, "large");
        REQUIRE(large);
        core::IoBuffer buffer;
        CHECK((*old)->read(large->node.id(), 0, 1024, buffer).has_value());
        CHECK(find_path(**old, "d/another name of it").has_value());
        CHECK_FALSE(find_path(**old, "small").has_value());
        InPlace place(volume.lower(), volume.dir().fd());
        const auto view = place.look();
        REQUIRE(view);
        CHECK(view->stage == InPlaceStage::kComplete);
        CHECK(view->missing == 4);
        end(volume);
        CHECK(text_at(volume.dir().path(".encfs6.xml")) == kOldConfig);
        CHECK(::stat(volume.dir().path(victim).c_str(), &is) == 0);
    }
}

TEST_CASE("EncFS cannot open what is half migrated, and nobody else") {
    Converted volume;
    InPlace place(volume.lower(), volume.dir().fd());
    REQUIRE(place.begin(kOldIdentity, 10, [](const std::string&) { return Outcome<void>{}; }));
    CHECK(place.config_path() == std::string(volume::kMigrationName) + "/old/.encfs6.xml");
    REQUIRE(place.resume(kOldIdentity));
    CHECK(is_placeholder(volume.lower(), volume.dir().fd(), ".encfs6.xml"));
    const auto opened = daemon::open_volume(volume.lower(), volume.dir().path(), {});
    REQUIRE_FALSE(opened);
    CHECK(opened.error().kind == daemon::FailureKind::kMigrating);
    CHECK(opened.error().sentence.find("--in-place") != std::string::npos);
    InPlace other(volume.lower(), volume.dir().fd());
    const auto wrong = other.resume(kOldIdentity + 1);
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().kind == daemon::FailureKind::kCipherDir);
}

TEST_CASE("a migration in place killed at any call goes on, and every file is readable then") {
    FilledVolume same(ordinary_volume());
    std::uint64_t calls = 0;
    for (std::uint64_t n = 1;; ++n) {
        INFO("died at call " << n);
        Converted volume;
        volume.lower().die_at(n);
        const Run first = volume.run();
        const bool died = volume.lower().dead();
        volume.lower().revive();
        if (!died) {
            calls = n;
            REQUIRE(first.outcome);
            break;
        }
        CHECK(volume.unreadable(same) == "");
        const Run second = volume.run();
        INFO((second.outcome ? "" : second.outcome.error().sentence));
        REQUIRE(second.outcome);
        CHECK(second.problems.empty());
        check_whole(volume, same);
    }
    CHECK(calls > 200);
}

TEST_CASE("a migration in place that is killed twice goes on") {
    FilledVolume same(ordinary_volume());
    for (std::uint64_t n = 30;; n += 37) {
        INFO("died at call " << n);
        Converted volume;
        volume.lower().die_at(n);
        (void)volume.run();
        if (!volume.lower().dead()) break;
        volume.lower().revive();
        volume.lower().die_at(n / 2);
        (void)volume.run();
        volume.lower().revive();
        CHECK(volume.unreadable(same) == "");
        REQUIRE(volume.run().outcome);
        check_whole(volume, same);
    }
}

TEST_CASE("a full disk at any call ends a migration in place, and it goes on once there is room") {
    FilledVolume same(ordinary_volume());
    for (std::uint64_t n = 1;; n += 2) {
        INFO("full at call " << n);
        Converted volume;
        volume.lower().forget_calls();
        // Full is not full for one call only.
        for (std::uint64_t more = 0; more < 20; ++more)
            volume.lower().fail_at(n + more, ENOSPC, fake::Calls::mutating());
        const Run first = volume.run();
        const bool reached = volume.lower().count(fake::Calls::mutating()) >= n;
        volume.lower().revive();
        if (!reached) break;
        CHECK(volume.unreadable(same) == "");
        const Run second = volume.run();
        INFO((second.outcome ? "" : second.outcome.error().sentence));
        REQUIRE(second.outcome);
        // What it told of, as of attributes without room, it left; nothing else.
        if (first.problems.empty() && second.problems.empty()) check_whole(volume, same);
    }
}

TEST_CASE("a power cut at any call of a migration in place loses nothing") {
    FilledVolume same(ordinary_volume());
    for (std::uint64_t n = 1;; ++n) {
        bool dead = true;
        for (std::uint64_t outcome = 0; outcome < 3 && dead; ++outcome) {
            INFO("cut at call " << n << ", outcome " << outcome);
            Converted volume;
            const auto before = root_of_dir(volume.dir());
            volume.lower().track_power_loss();
            volume.lower().die_at(n);
            (void)volume.run();
            dead = volume.lower().dead();
            if (!dead) break;
            const std::string lost = volume.lower().power_cut(3 * n + outcome);
            INFO(lost);
            // A real one takes the root's new times with what had changed them.
            if (!volume.exists(kWorkRoot) && !volume.exists(volume::kMigrationName) &&
                !volume.exists(kWorkDone)) {
                const struct timespec times[2] = {before.st_atim, before.st_mtim};
                REQUIRE(::futimens(volume.dir().fd(), times) == 0);
            }
            CHECK(volume.unreadable(same) == "");
            const Run second = volume.run();
            INFO((second.outcome ? "" : second.outcome.error().sentence));
            REQUIRE(second.outcome);
            CHECK(second.problems.empty());
            if (lost.find("undone -") == std::string::npos) {
                check_whole(volume, same);
            } else {
                CHECK(but_for_directories(differences(same, volume.dir())) == "");
                CHECK(left_over(volume) == std::string(kWorkDone) + " ");
            }
        }
        if (!dead) break;
    }
}
