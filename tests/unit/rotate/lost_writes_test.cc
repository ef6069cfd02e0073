// SPDX-License-Identifier: Apache-2.0
// Disks that fail while keys are rotated: a sync returns EIO once, and what it should have written
// is in the cache alone, where it looks as if it were done. And what only looks damaged.
#include <sys/stat.h>

#include "encfs/core/online_rotation.h"
#include "encfs/volume/geometry.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/rotate/rotate_place.h"

using namespace extencfs;
using namespace extencfs::test;
using core::Filesystem;
using core::kRootNode;

namespace {

constexpr std::uint64_t kMostSyncs = 200;

// The cache is gone; nothing but the disk is left.
void check_on_disk(fake::FaultLowerFs& lower, const RotatePlace& place,
                   const volume::VolumeKeys& old_keys, const Upper& before, std::uint64_t seed) {
    INFO(lower.power_cut(seed));
    CHECK(difference(place.look(Compare::kNoTimes), before) == "");
    CHECK(opened_by(place.path(), old_keys) == 0);
}

bool is_over(const RotatePlace& place, const volume::VolumeKeys& old_keys) {
    const auto keys = place.derived();
    return keys && (*keys)->current().number != old_keys.current().number;
}

void rotate_unmounted(fake::FaultLowerFs& lower, const RotatePlace& place) {
    const auto failed = rotate_keys(lower, place.path());
    INFO((failed ? failed->sentence : "done"));
    REQUIRE(!failed);
}

}  // namespace

TEST_CASE("what a failing disk lost at any call is sealed again by the next rotation") {
    for (std::uint64_t n = 1;; n += kStep) {
        INFO("sync " << n);
        REQUIRE(n < kMostSyncs);
        const RotatePlace place;
        place.fill();
        const Upper before = place.look(Compare::kNoTimes);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        fake::FaultLowerFs lower;
        lower.track_power_loss();
        lower.lose_writes_at(n);
        (void)rotate_keys(lower, place.path());
        const bool through = lower.losses() == 0;
        if (!is_over(place, **old_keys)) rotate_unmounted(lower, place);
        check_on_disk(lower, place, **old_keys, before, n);
        if (through) {
            CHECK(n > 5);
            return;
        }
    }
}

TEST_CASE("what a failing disk lost at any call is sealed again although the power goes") {
    for (std::uint64_t n = 1; n < 30; ++n) {
        for (std::uint64_t call = n; call < 200; call += 23 * kStep) {
            INFO("sync " << n << ", call " << call);
            const RotatePlace place;
            place.fill();
            const Upper before = place.look(Compare::kNoTimes);
            auto old_keys = place.derived();
            REQUIRE(old_keys);
            fake::FaultLowerFs lower;
            lower.track_power_loss();
            lower.lose_writes_at(n);
            (void)rotate_keys(lower, place.path());
            if (is_over(place, **old_keys)) continue;
            lower.die_at(call);
            (void)rotate_keys(lower, place.path());
            INFO(lower.power_cut(n * 1000 + call));
            (void)end_rotation(place, **old_keys);
            CHECK(difference(place.look(Compare::kNoTimes), before) == "");
            CHECK(opened_by(place.path(), **old_keys) == 0);
        }
    }
}

TEST_CASE("a rotation beside a mount does not end on what a failing disk lost at any call") {
    bool stopped = false;
    for (std::uint64_t n = 1;; n += kStep) {
        INFO("sync " << n);
        REQUIRE(n < kMostSyncs);
        const RotatePlace place;
        place.fill();
        const Upper before = place.look(Compare::kNoTimes);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        fake::FaultLowerFs lower;
        lower.track_power_loss();
        auto fs = place.open(lower);
        lower.lose_writes_at(n);
        (void)rotate_beside(lower, place.path(), *fs);
        const bool through = lower.losses() == 0;
        // Whoever else asks may be the one who is told of it.
        (void)fs->fsync_directory(kRootNode);
        for (int turn = 0; turn < 2 && !is_over(place, **old_keys); ++turn) {
            const auto again = rotate_beside(lower, place.path(), *fs).failed;
            stopped = stopped || again;
            CHECK((again || !core::OnlineRotation(*fs).has_lost_writes()));
        }
        core::OnlineRotation(*fs).forget_listings();
        (void)fs->finish();
        fs.reset();
        if (!is_over(place, **old_keys)) rotate_unmounted(lower, place);
        check_on_disk(lower, place, **old_keys, before, n);
        if (through) {
            CHECK(n > 5);
            CHECK(stopped);
            return;
        }
    }
}

TEST_CASE("what the disk did before a rotation is no concern of it") {
    const RotatePlace place;
    place.fill();
    fake::FaultLowerFs lower;
    lower.track_power_loss();
    auto fs = place.open(lower);
    REQUIRE(!rotate_beside(lower, place.path(), *fs).failed);
    const auto made = fs->create(kRootNode, "file", 0600, {});
    REQUIRE(made);
    REQUIRE(fs->write(made->node, 0, bytes_of("text"), core::WriteSource::kCaller, {}));
    lower.lose_writes_at(1);
    CHECK(!fs->fsync(made->node, true));
    CHECK(lower.losses() == 1);
    const auto again = rotate_beside(lower, place.path(), *fs).failed;
    INFO((again ? again->sentence : "done"));
    CHECK(!again);
    fs->forget(made->node, 1);
    core::OnlineRotation(*fs).forget_listings();
    (void)fs->finish();
}

TEST_CASE("what a program's fsync is told ends a rotation beside it") {
    const RotatePlace place;
    const std::string text(600'000, 'x');
    fake::FaultLowerFs lower;
    auto fs = place.open(lower);
    const auto small = fs->create(kRootNode, "small", 0600, {});
    const auto big = fs->create(kRootNode, "big", 0600, {});
    REQUIRE(small);
    REQUIRE(big);
    for (const auto& [node, size] : {std::pair{small->node, 100}, {big->node, 600'000}}) {
        const Bytes bytes = bytes_of(text).first(static_cast<std::size_t>(size));
        REQUIRE(fs->write(node, 0, bytes, core::WriteSource::kCaller, {}));
    }
    bool met = false;
    lower.before_sync(text.size(), [&] {
        lower.fail_at(1, EIO, fake::Calls::named("fsync"));
        met = !fs->fsync(small->node, false);
    });
    CHECK(rotate_beside(lower, place.path(), *fs).failed);
    CHECK(met);
    CHECK(core::OnlineRotation(*fs).has_lost_writes());
    CHECK(rotate_beside(lower, place.path(), *fs).failed);
    for (const auto& one : {small, big}) fs->forget(one->node, 1);
    core::OnlineRotation(*fs).forget_listings();
    (void)fs->finish();
    fs.reset();
    REQUIRE(!rotate_keys(lower, place.path()));
}

// An append whose header came to the disk and whose last page did not.
TEST_CASE("what can be read of a fragment that lost its end can be read afterwards") {
    for (const bool beside : {false, true}) {
        for (const std::size_t size : {3000, 20'000}) {
            INFO(beside << ", " << size);
            const RotatePlace place;
            const std::string text(size, 'x');
            const std::string more(200, 'y');
            std::string path, old_page;
            place.with([&](Filesystem& fs) {
                const auto made = fs.create(kRootNode, "file", 0600, {});
                REQUIRE(made);
                REQUIRE(fs.write(made->node, 0, bytes_of(text), core::WriteSource::kCaller, {}));
                fs.forget(made->node, 1);
            });
            for (const std::string& name : place.keys().names()) {
                if (!name.starts_with("extencfs.")) path = place.path(name);
            }
            const auto last = volume::fragment(volume::fragment_of(size - 1));
            old_page = read_file(path).substr(last.cipher_off, last.cipher_size);
            place.with([&](Filesystem& fs) {
                const auto found = fs.lookup(kRootNode, "file");
                REQUIRE(found);
                REQUIRE(
                    fs.write(found->node, size, bytes_of(more), core::WriteSource::kCaller, {}));
                fs.forget(found->node, 1);
            });
            std::string bytes = read_file(path);
            bytes.replace(last.cipher_off, last.cipher_size, old_page);
            write_file(path, bytes);
            const auto check = [&] {
                place.with([&](Filesystem& fs) {
                    const auto found = fs.lookup(kRootNode, "file");
                    REQUIRE(found);
                    core::IoBuffer buffer;
                    const auto got = fs.read(found->node, 0, size, buffer);
                    REQUIRE(got);
                    CHECK(text_of(*got) == text);
                    CHECK(!fs.read(found->node, 0, size + 1, buffer));
                    fs.forget(found->node, 1);
                });
            };
            check();
            const auto real = lower::make_posix_lower_fs();
            std::uint64_t damaged = 0;
            if (beside) {
                auto fs = place.open(*real);
                const Rotated done = rotate_beside(*real, place.path(), *fs);
                REQUIRE(!done.failed);
                damaged = done.damaged;
                (void)fs->finish();
            } else {
                rotate::Damages told;
                REQUIRE(!rotate_keys(*real, place.path(), &told));
                damaged = told.count();
            }
            CHECK(damaged == 1);
            check();
            // Cut to what there is of it, it is whole.
            place.with([&](Filesystem& fs) {
                const auto found = fs.lookup(kRootNode, "file");
                REQUIRE(found);
                core::AttrChange cut;
                cut.size_set = true;
                cut.size = size;
                REQUIRE(fs.setattr(found->node, cut));
                core::IoBuffer buffer;
                const auto got = fs.read(found->node, 0, size + 100, buffer);
                REQUIRE(got);
                CHECK(text_of(*got) == text);
                fs.forget(found->node, 1);
            });
        }
    }
}

TEST_CASE("as many attributes as can be listed stay ones that can be listed") {
    for (const bool beside : {false, true}) {
        INFO(beside);
        const RotatePlace place;
        std::vector<std::string> set;
        place.with([&](Filesystem& fs) {
            const auto made = fs.create(kRootNode, "file", 0600, {});
            REQUIRE(made);
            for (int i = 0; i < 800; ++i) {
                const std::string name = "user." + std::to_string(i);
                if (!fs.set_xattr(made->node, name, bytes_of(name), 0)) break;
                set.push_back(name);
            }
            fs.forget(made->node, 1);
        });
        std::ranges::sort(set);
        if (set.size() < 800) {
            WARN("the file system of the test keeps " << set.size() << " attributes");
            return;
        }
        const auto real = lower::make_posix_lower_fs();
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        if (beside) {
            auto fs = place.open(*real);
            const auto failed = rotate_beside(*real, place.path(), *fs).failed;
            INFO((failed ? failed->sentence : "done"));
            REQUIRE(!failed);
            CHECK(fs->finish());
        } else {
            const auto failed = rotate_keys(*real, place.path());
            INFO((failed ? failed->sentence : "done"));
            REQUIRE(!failed);
        }
        place.with([&](Filesystem& fs) {
            const auto found = fs.lookup(kRootNode, "file");
            REQUIRE(found);
            auto names = fs.list_xattr(found->node);
            REQUIRE(names);
            std::ranges::sort(*names);
            CHECK(*names == set);
            for (const std::string& name : set) {
                const auto value = fs.get_xattr(found->node, name);
                REQUIRE(value);
                CHECK(text_of(*value) == name);
            }
            fs.forget(found->node, 1);
        });
        CHECK(opened_by(place.path(), **old_keys) == 0);
    }
}
