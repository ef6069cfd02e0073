// SPDX-License-Identifier: Apache-2.0
// Rotations of keys that are killed, fail, or lose power at every lower call, and are run again:
// everything is there afterwards, and nothing opens under the old key.
#include <cstdlib>

#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/rotate/rotate_place.h"

using namespace extencfs;
using namespace extencfs::test;

namespace {

constexpr std::uint64_t kMostCalls = 1000;

// The rotation is over: run it again unless it is, and look.
void check_end(const RotatePlace& place, const volume::VolumeKeys& old_keys, const Upper& before,
               Compare compare) {
    const bool had_one_generation = end_rotation(place, old_keys);
    Upper now = place.look(compare);
    // The times of the root are kept from where the journal is in force, and given back last.
    if (had_one_generation) now["/"] = before.at("/");
    CHECK(difference(now, before) == "");
    CHECK(opened_by(place.path(), old_keys) == 0);
    CHECK(!place.derived(kOther));
}

// Calls `round` with a fresh place and n = 1, 2, ... (by kStep) until it says that the rotation got
// through.
void each_call(const std::function<bool(const RotatePlace&, std::uint64_t n)>& round) {
    for (std::uint64_t n = 1;; n += kStep) {
        INFO("call " << n);
        REQUIRE(n < kMostCalls);
        const RotatePlace place;
        place.fill();
        if (round(place, n)) {
            CHECK(n > 60);  // it made the calls that a rotation takes
            return;
        }
    }
}

}  // namespace

TEST_CASE("a rotation that is killed at any call is gone on with") {
    each_call([](const RotatePlace& place, std::uint64_t n) {
        const Upper before = place.look(Compare::kAll);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        fake::FaultLowerFs fs;
        fs.die_at(n);
        (void)rotate_keys(fs, place.path());
        const bool through = !fs.dead();
        check_end(place, **old_keys, before, Compare::kAll);
        return through;
    });
}

TEST_CASE("a rotation that is killed at any call and once more is gone on with") {
    each_call([](const RotatePlace& place, std::uint64_t n) {
        Upper before = place.look(Compare::kAll);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        fake::FaultLowerFs fs;
        fs.die_at(n);
        (void)rotate_keys(fs, place.path());
        const bool through = !fs.dead();
        fs.revive();
        // Only between the journal's end and the very last call the root's own times are lost.
        const auto keys = place.derived();
        const bool over = keys && (*keys)->current().number != (*old_keys)->current().number;
        if (over && !std::filesystem::exists(place.path(volume::kRotationName))) {
            before["/"] = place.look(Compare::kAll).at("/");
        }
        fs.die_at(n / 2 + 1);
        (void)rotate_keys(fs, place.path());
        check_end(place, **old_keys, before, Compare::kAll);
        return through;
    });
}

TEST_CASE("a rotation that has no room at any call is gone on with") {
    each_call([](const RotatePlace& place, std::uint64_t n) {
        const Upper before = place.look(Compare::kAll);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        fake::FaultLowerFs fs;
        fs.fail_at(n, ENOSPC);
        (void)rotate_keys(fs, place.path());
        const bool through = fs.count(fake::Calls::mutating()) < n;
        check_end(place, **old_keys, before, Compare::kAll);
        return through;
    });
}

// A kill between two pages of one write.
TEST_CASE("a rotation whose writes are torn is gone on with") {
    std::vector<core::BorrowedLower::Write> writes;
    {
        const RotatePlace place;
        place.fill();
        const auto real = lower::make_posix_lower_fs();
        core::BorrowedLower::WriteLog log;
        core::BorrowedLower fs(*real, &log);
        REQUIRE(!rotate_keys(fs, place.path()));
        writes = log.writes;
    }
    int torn = 0;
    for (std::size_t n = 1; n <= writes.size(); ++n) {
        const auto& write = writes[n - 1];
        for (std::uint64_t page = 4096 - write.offset % 4096; page < write.size; page += 4096) {
            INFO("write " << n << " torn after " << page);
            const RotatePlace place;
            place.fill();
            const Upper before = place.look(Compare::kAll);
            auto old_keys = place.derived();
            REQUIRE(old_keys);
            fake::FaultLowerFs fs;
            fs.tear_at(n, page, fake::Tear::Then::kDie);
            REQUIRE(rotate_keys(fs, place.path()));
            check_end(place, **old_keys, before, Compare::kAll);
            ++torn;
        }
    }
    CHECK(torn >= 5);
}

TEST_CASE("a rotation that loses power at any call is gone on with") {
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        each_call([&](const RotatePlace& place, std::uint64_t n) {
            const Upper before = place.look(Compare::kNoTimes);
            auto old_keys = place.derived();
            REQUIRE(old_keys);
            fake::FaultLowerFs fs;
            fs.track_power_loss();
            fs.die_at(n);
            (void)rotate_keys(fs, place.path());
            const bool through = !fs.dead();
            const std::string said = fs.power_cut(seed * 1000 + n);
            INFO("seed " << seed << "\n" << said);
            check_end(place, **old_keys, before, Compare::kNoTimes);
            return through;
        });
    }
}
