// SPDX-License-Identifier: Apache-2.0
// The two volumes of a migration on the disk, and its two ends; the old one is of format 1 here.
#include <catch2/catch.hpp>

#include <unistd.h>

#include "encfs/daemon/volume_state.h"
#include "encfs/migrate/tree_copy.h"
#include "encfs/migrate/verify.h"
#include "encfs/migrate/volumes.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/fake/scratch_dir.h"
#include "tests/unit/daemon/cheap_volume.h"

using namespace extencfs;
using namespace extencfs::migrate;
using daemon::FailureKind;

namespace {

constexpr std::size_t kDescriptors = 256;
const Bytes kNewPassword = bytes_of("new");

bool exists(const std::string& path) {
    return ::access(path.c_str(), F_OK) == 0;
}

// An old volume with one file in a directory, and an empty directory for the new one.
class Places {
  public:
    Places() {
        REQUIRE(NewVolume::make(*lower_, old_.path(), test::cheap(), test::kPassword));
        auto made = NewVolume::open(*lower_, old_.path(), test::kPassword, 0, kDescriptors);
        REQUIRE(made);
        auto& fs = made->filesystem();
        auto directory = fs.mkdir(core::kRootNode, "d", 0700, {});
        REQUIRE(directory);
        auto file = fs.create(directory->node, "f", 0600, {});
        REQUIRE(file);
        REQUIRE(fs.write(file->node, 0, bytes_of("words"), core::WriteSource::kCaller, {}));
        fs.forget(file->node, 1);
        fs.forget(directory->node, 1);
        REQUIRE(made->journal().remove());
        REQUIRE(made->close());
    }
    lower::LowerFs& lower() { return *lower_; }
    const std::string& old_path() const { return old_.path(); }
    std::string new_path() const { return new_.path("volume"); }
    void make_new() {
        REQUIRE(::mkdir(new_path().c_str(), 0700) == 0);
        REQUIRE(NewVolume::make(*lower_, new_path(), test::cheap(), kNewPassword));
    }
    OldVolume open_old() {
        auto old = OldVolume::open(*lower_, old_path());
        REQUIRE(old);
        REQUIRE(old->unlock(test::kPassword, kDescriptors));
        return std::move(*old);
    }
    // Everything that is still to be copied.
    void copy() {
        OldVolume old = open_old();
        auto made =
            NewVolume::open(*lower_, new_path(), kNewPassword, old.identity(), kDescriptors);
        REQUIRE(made);
        Problems problems;
        Progress progress;
        const auto seen =
            survey(old.filesystem(), old.left_out(), Depth::kWhole, 2, problems, progress);
        REQUIRE(seen);
        CHECK(seen->files == 1);
        CHECK(seen->bytes == 5);
        const Volumes volumes{old.filesystem(), made->filesystem(), *lower_, made->root_fd(),
                              old.left_out()};
        const auto fresh = made->is_fresh() ? Fresh::kYes : Fresh::kNo;
        REQUIRE(
            TreeCopy(volumes, made->journal(), seen->links, fresh, {}, problems, progress).run());
        const Verified verified =
            verify(volumes, seen->links, 1, problems.all(), problems, progress);
        CHECK(verified.files == 1);
        CHECK(verified.bytes == 5);
        CHECK(problems.count() == 0);
        REQUIRE(made->close());
    }

  private:
    std::unique_ptr<lower::LowerFs> lower_ = lower::make_posix_lower_fs();
    fake::ScratchDir old_ = fake::ScratchDir::in_memory();
    fake::ScratchDir new_ = fake::ScratchDir::in_memory();
};

Target target_of(Places& places) {
    const auto view = look_at_target(places.lower(), places.new_path());
    REQUIRE(view);
    return view->target;
}

}  // namespace

TEST_CASE("a migration is declared complete once it is, and is a volume like any other then") {
    Places places;
    CHECK(target_of(places) == Target::kFree);
    places.make_new();
    CHECK(target_of(places) == Target::kVolume);
    {
        OldVolume old = places.open_old();
        auto made = NewVolume::open(places.lower(), places.new_path(), kNewPassword, old.identity(),
                                    kDescriptors);
        REQUIRE(made);
        CHECK(made->is_fresh());
        REQUIRE(made->close());
    }
    CHECK(target_of(places) == Target::kIncomplete);
    const auto early = finish(places.lower(), places.new_path());
    REQUIRE_FALSE(early);
    CHECK(early.error().kind == FailureKind::kCipherDir);
    places.copy();
    CHECK(target_of(places) == Target::kComplete);
    places.copy();
    REQUIRE(finish(places.lower(), places.new_path()));
    CHECK(target_of(places) == Target::kVolume);
    const auto again = finish(places.lower(), places.new_path());
    REQUIRE_FALSE(again);
    CHECK(again.error().kind == FailureKind::kCipherDir);
    CHECK_FALSE(roll_back(places.lower(), places.new_path()));
    // It has files by now, which nothing is to be mixed with.
    const auto mixed =
        NewVolume::open(places.lower(), places.new_path(), kNewPassword, 1, kDescriptors);
    REQUIRE_FALSE(mixed);
    CHECK(mixed.error().kind == FailureKind::kCipherDir);
}

TEST_CASE("a new volume of another old one is refused") {
    Places places;
    places.make_new();
    places.copy();
    const auto other =
        NewVolume::open(places.lower(), places.new_path(), kNewPassword, 5, kDescriptors);
    REQUIRE_FALSE(other);
    CHECK(other.error().kind == FailureKind::kCipherDir);
}

TEST_CASE("an old volume that is being written is refused") {
    Places places;
    const auto disk = daemon::VolumeOnDisk::open(places.lower(), places.old_path());
    REQUIRE(disk);
    const auto lock = daemon::WriterLock::acquire(places.lower(), disk->root_fd());
    REQUIRE(lock);
    const auto old = OldVolume::open(places.lower(), places.old_path());
    REQUIRE_FALSE(old);
    CHECK(old.error().kind == FailureKind::kLocked);
}

TEST_CASE("a migration is taken back, also when that is killed in between") {
    for (std::uint64_t n = 1;; ++n) {
        INFO("died at call " << n);
        Places places;
        places.make_new();
        places.copy();
        fake::FaultLowerFs lower;
        lower.die_at(n);
        const bool done = roll_back(lower, places.new_path()).has_value();
        const bool died = lower.dead();
        lower.revive();
        if (died) CHECK(roll_back(lower, places.new_path()));
        CHECK_FALSE(exists(places.new_path()));
        CHECK(exists(places.old_path() + "/extencfs.conf"));
        if (!died) {
            CHECK(done);
            break;
        }
    }
}
