// SPDX-License-Identifier: Apache-2.0
// Rotations of keys beside the operations of a file system: nobody sees more of one than a change
// time, nothing opens under the old key afterwards, and whatever cuts it short, the rotation of an
// unmounted volume goes on.
#include <atomic>
#include <set>
#include <thread>

#include "encfs/rotate/beside_mount.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/checked_lower.h"
#include "tests/unit/core/recording_sink.h"
#include "tests/unit/core/worker.h"
#include "tests/unit/rotate/rotate_place.h"

using namespace extencfs;
using namespace extencfs::test;
using core::Filesystem;
using core::kRootNode;

namespace {

constexpr std::uint64_t kMostCalls = 2000;

// The failure, damage among them.
std::optional<daemon::Failure> failure_of_rotation(lower::LowerFs& lower, const RotatePlace& place,
                                                   Filesystem& fs) {
    const Rotated done = rotate_beside(lower, place.path(), fs);
    if (done.failed || done.damaged == 0) return done.failed;
    return daemon::Failure{daemon::FailureKind::kDamage, "damaged after"};
}

void check_failed(const std::optional<daemon::Failure>& failed) {
    INFO((failed ? failed->sentence : "done"));
    REQUIRE(!failed);
}

// After whatever cut it short: goes on, and looks.
void check_end(const RotatePlace& place, const volume::VolumeKeys& old_keys, const Upper& before) {
    (void)end_rotation(place, old_keys);
    CHECK(difference(place.look(Compare::kNoTimes), before) == "");
    CHECK(opened_by(place.path(), old_keys) == 0);
    CHECK(!place.derived(kOther));
}

std::vector<std::string> listed_in_parts(Filesystem& fs, core::NodeId node, std::size_t at_once,
                                         std::size_t parts, std::uint64_t& cookie) {
    std::vector<std::string> names;
    for (std::size_t part = 0; part < parts; ++part) {
        std::size_t taken = 0;
        auto listed =
            fs.list(node, cookie, core::ListMode::kNames, [&](const core::ListedEntry& entry) {
                if (taken == at_once) return false;
                ++taken;
                cookie = entry.cookie;
                if (!entry.name.starts_with(".")) names.emplace_back(entry.name);
                return true;
            });
        REQUIRE(listed);
        if (taken == 0) break;
    }
    return names;
}

}  // namespace

TEST_CASE("a rotation beside a file system keeps everything, there and below") {
    const RotatePlace place;
    place.fill();
    const Upper before = place.look(Compare::kAll);
    auto old_keys = place.derived();
    REQUIRE(old_keys);
    const std::size_t opened = opened_by(place.path(), **old_keys);
    const auto real = lower::make_posix_lower_fs();
    auto fs = place.open(*real);
    CHECK(difference(seen_in(*fs, Compare::kAll), before) == "");
    check_failed(failure_of_rotation(*real, place, *fs));
    CHECK(difference(seen_in(*fs, Compare::kAll), before) == "");
    CHECK(opened_by(place.path(), **old_keys) == 0);
    auto new_keys = place.derived();
    REQUIRE(new_keys);
    CHECK((*new_keys)->generations().size() == 1);
    CHECK(opened_by(place.path(), **new_keys) == opened);
    // And again, in the same mount; and what is made between is seen by the next one.
    auto made = fs->create(kRootNode, "between", 0600, {});
    REQUIRE(made);
    REQUIRE(fs->write(made->node, 0, bytes_of("text"), core::WriteSource::kCaller, {}));
    check_failed(failure_of_rotation(*real, place, *fs));
    CHECK(opened_by(place.path(), **new_keys) == 0);
    core::OnlineRotation(*fs).forget_listings();
    fs->forget(made->node, 1);
    CHECK(fs->node_count() == 1);
    CHECK(fs->finish());
    fs.reset();
    Upper now = place.look(Compare::kNoTimes);
    CHECK(now.erase("between") == 1);
    for (const std::string& name : place.keys().names()) {
        INFO(name);
        CHECK(!name.starts_with(volume::kRotationName));
        CHECK(!name.starts_with(volume::kRotationKeepPrefix));
        CHECK(!name.starts_with(volume::kTempPrefix));
    }
}

TEST_CASE("what is open without a name is rotated too") {
    const RotatePlace place;
    place.fill();
    const auto real = lower::make_posix_lower_fs();
    const auto fs = place.open(*real);
    const std::string text(300'000, 'x');
    auto gone = fs->create(kRootNode, "gone", 0600, {});
    auto nameless = fs->tmpfile(kRootNode, 0600, {});
    REQUIRE(gone);
    REQUIRE(nameless);
    for (const auto node : {gone->node, nameless->node})
        REQUIRE(fs->write(node, 0, bytes_of(text), core::WriteSource::kCaller, {}));
    REQUIRE(fs->set_xattr(nameless->node, "user.of it", bytes_of("value"), 0));
    REQUIRE(fs->unlink(kRootNode, "gone"));
    check_failed(failure_of_rotation(*real, place, *fs));
    core::IoBuffer buffer;
    for (const auto node : {gone->node, nameless->node}) {
        const auto got = fs->read(node, 0, text.size(), buffer);
        REQUIRE(got);
        CHECK(text_of(*got) == text);
    }
    auto named = fs->link(nameless->node, kRootNode, "named");
    REQUIRE(named);
    const auto value = fs->get_xattr(named->node, "user.of it");
    REQUIRE(value);
    CHECK(text_of(*value) == "value");
    for (const auto node : {gone->node, nameless->node, named->node}) fs->forget(node, 1);
    CHECK(fs->finish());
    const Upper now = place.look(Compare::kNoTimes);
    CHECK(now.at("named").find("300000 bytes") != std::string::npos);
}

TEST_CASE("a listing that a rotation comes in between tells each name once") {
    const RotatePlace place;
    const auto real = lower::make_posix_lower_fs();
    const auto fs = place.open(*real);
    std::vector<std::string> all;
    for (int i = 0; i < 300; ++i) {
        all.push_back("name " + std::to_string(i) + (i % 50 == 0 ? std::string(200, 'n') : ""));
        auto made = fs->create(kRootNode, all.back(), 0600, {});
        REQUIRE(made);
        fs->forget(made->node, 1);
    }
    std::ranges::sort(all);
    for (int round = 0; round < 3; ++round) {
        std::uint64_t cookie = 0;
        auto names = listed_in_parts(*fs, kRootNode, 7, 10, cookie);
        // The second began while listings are steady already, the third after they were ordinary.
        check_failed(failure_of_rotation(*real, place, *fs));
        for (std::string& more : listed_in_parts(*fs, kRootNode, 7, 1000, cookie))
            names.push_back(std::move(more));
        std::ranges::sort(names);
        CHECK(names == all);
        if (round == 1) core::OnlineRotation(*fs).forget_listings();
    }
    CHECK(fs->finish());
}

TEST_CASE("a listing of what is removed meanwhile goes on after a rotation") {
    const auto real = lower::make_posix_lower_fs();
    for (std::size_t parts = 1; parts <= 8; ++parts) {
        INFO(parts);
        const RotatePlace place;
        const auto fs = place.open(*real);
        const auto dir = fs->mkdir(kRootNode, "directory", 0700, {});
        REQUIRE(dir);
        const core::NodeId node = parts % 2 == 0 ? kRootNode : dir->node;
        std::set<std::string> left;
        for (int i = 0; i < 100; ++i) {
            const std::string name =
                "name " + std::to_string(i) + (i % 20 == 0 ? std::string(200, 'n') : "");
            auto made = fs->create(node, name, 0600, {});
            REQUIRE(made);
            fs->forget(made->node, 1);
            left.insert(name);
        }
        std::uint64_t cookie = 0;
        for (const std::string& name : listed_in_parts(*fs, node, 7, parts, cookie)) {
            if (name == "directory") continue;
            REQUIRE(fs->unlink(node, name));
            left.erase(name);
        }
        // And others, among them where it would go on.
        bool goes = false;
        for (const std::string& name : std::vector(left.begin(), left.end())) {
            goes = !goes;
            if (!goes) continue;
            REQUIRE(fs->unlink(node, name));
            left.erase(name);
        }
        check_failed(failure_of_rotation(*real, place, *fs));
        auto names = listed_in_parts(*fs, node, 7, 1000, cookie);
        std::ranges::sort(names);
        std::erase(names, "directory");
        CHECK(names == std::vector(left.begin(), left.end()));
        fs->forget(dir->node, 1);
        core::OnlineRotation(*fs).forget_listings();
        CHECK(fs->finish());
    }
}

TEST_CASE("a rotation beside a file system that is killed at any call is gone on with") {
    for (std::uint64_t n = 1;; n += kStep) {
        INFO("call " << n);
        REQUIRE(n < kMostCalls);
        const RotatePlace place;
        place.fill();
        const Upper before = place.look(Compare::kNoTimes);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        fake::FaultLowerFs lower;
        bool through;
        {
            const auto fs = place.open(lower);
            lower.die_at(lower.count(fake::Calls::mutating()) + n);
            (void)failure_of_rotation(lower, place, *fs);
            through = !lower.dead();
        }
        check_end(place, **old_keys, before);
        if (through) {
            CHECK(n > 60);
            return;
        }
    }
}

TEST_CASE("a rotation beside a file system that loses power at any call is gone on with") {
    for (std::uint64_t n = 1;; n += kStep) {
        INFO("call " << n);
        REQUIRE(n < kMostCalls);
        const RotatePlace place;
        place.fill();
        const Upper before = place.look(Compare::kNoTimes);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        fake::FaultLowerFs lower;
        lower.track_power_loss();
        bool through;
        std::string said;
        {
            const auto fs = place.open(lower);
            lower.die_at(lower.count(fake::Calls::mutating()) + n);
            (void)failure_of_rotation(lower, place, *fs);
            through = !lower.dead();
            said = lower.power_cut(n);
        }
        INFO(said);
        check_end(place, **old_keys, before);
        if (through) return;
    }
}

TEST_CASE("a rotation that fails at any call is gone on with in the same mount") {
    for (std::uint64_t n = 1;; n += kStep) {
        INFO("call " << n);
        REQUIRE(n < kMostCalls);
        const RotatePlace place;
        place.fill();
        const Upper before = place.look(Compare::kNoTimes);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        fake::FaultLowerFs lower;
        auto fs = place.open(lower);
        const std::uint64_t at = lower.count(fake::Calls::mutating()) + n;
        lower.fail_at(at, ENOSPC);
        (void)failure_of_rotation(lower, place, *fs);
        const bool through = lower.count(fake::Calls::mutating()) < at;
        // Half rotated, everything is as it was, but for how many names a symlink with several has.
        const auto without_count = [](Upper upper) {
            for (const char* name : {"docs/link", "same link"}) {
                std::string& text = upper.at(name);
                text = text.substr(text.rfind(' '));
            }
            return upper;
        };
        CHECK(difference(without_count(seen_in(*fs, Compare::kNoTimes)), without_count(before)) ==
              "");
        const auto keys = place.derived();
        const bool over = keys && (*keys)->current().number != (*old_keys)->current().number;
        if (!over) {
            const auto again = failure_of_rotation(lower, place, *fs);
            // A sync that failed is not gone on after in this mount.
            if (!core::OnlineRotation(*fs).has_lost_writes())
                check_failed(again);
            else
                CHECK(again);
        }
        const bool is_half = core::OnlineRotation(*fs).has_lost_writes();
        const Upper now = seen_in(*fs, Compare::kNoTimes);
        CHECK(difference(is_half ? without_count(now) : now,
                         is_half ? without_count(before) : before) == "");
        core::OnlineRotation(*fs).forget_listings();
        (void)fs->finish();  // false where a write of its own failed
        fs.reset();
        check_end(place, **old_keys, before);
        if (through) return;
    }
}

TEST_CASE("threads do everything at once beside a rotation of keys", "[threads]") {
    for (unsigned seed = 1; seed <= 4; ++seed) {
        INFO("seed " << seed);
        const RotatePlace place;
        const auto real = lower::make_posix_lower_fs();
        const auto sink = seed % 2 == 0 ? std::make_shared<core::RecordingSink>() : nullptr;
        std::unique_ptr<core::CheckedLower> checked;
        if (sink) checked = std::make_unique<core::CheckedLower>(*real, *sink);
        lower::LowerFs& lower = sink ? static_cast<lower::LowerFs&>(*checked) : *real;
        auto fs = place.open(lower, sink);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        std::mutex faults_mutex;
        std::vector<std::string> faults;
        constexpr unsigned kThreads = 3;
        constexpr unsigned kTurns = 12;
        std::atomic<unsigned> at_work{kThreads};
        std::optional<daemon::Failure> failed;
        {
            std::vector<std::thread> threads;
            for (unsigned t = 0; t < kThreads; ++t)
                threads.emplace_back([&, t] {
                    for (unsigned turn = 0; turn < kTurns; ++turn) {
                        core::Worker worker(*fs, (seed * 10 + t) * 10'000 + turn);
                        worker.run(200);
                        const std::lock_guard lock(faults_mutex);
                        faults.insert(faults.end(), worker.faults().begin(), worker.faults().end());
                    }
                    --at_work;
                });
            // The last one begins when they are done, so that all of them have an end.
            bool last = false;
            while (!last && !failed) {
                last = at_work == 0;
                failed = failure_of_rotation(*real, place, *fs);
            }
            for (auto& thread : threads) thread.join();
        }
        for (const auto& fault : faults) FAIL_CHECK(fault);
        check_failed(failed);
        CHECK(fs->node_count() == 1);
        const Upper before = seen_in(*fs, Compare::kNoTimes);
        for (const auto& [path, what] : before) {
            INFO(path << ": " << what);
            CHECK(what.find("UNREADABLE") == std::string::npos);
            CHECK(what.find("UNLISTED") == std::string::npos);
        }
        CHECK(fs->finish());
        fs.reset();
        CHECK(difference(place.look(Compare::kNoTimes), before) == "");
        CHECK(opened_by(place.path(), **old_keys) == 0);
    }
}
