// SPDX-License-Identifier: Apache-2.0
// The configuration and the state file on lower file systems that fail, die, lie, or change beside
// us.
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <functional>

#include "encfs/daemon/volume_create.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/borrowed_lower.h"
#include "tests/unit/daemon/cheap_volume.h"
#include "tests/unit/daemon/temp_dir.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::cheap;
using extencfs::test::kPassword;
using extencfs::test::read_file;
using extencfs::test::TempDir;
using extencfs::test::write_file;

namespace {

// Something of the lower file system is not as it should be.
class Odd final : public core::BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    std::function<void()> once_state_is_open;
    bool changes_what_is_written = false;
    bool folds = false;
    unsigned long longest_name = 255;

    lower::Result<lower::Fd> open(int d, const std::string& n, int flags, mode_t mode) override {
        auto fd = BorrowedLower::open(d, n, flags, mode);
        if (n == volume::kStateName && once_state_is_open)
            std::exchange(once_state_is_open, nullptr)();
        return fd;
    }
    lower::Result<struct stat> stat_at(int d, const std::string& n) override {
        auto is = BorrowedLower::stat_at(d, n);
        if (is || !folds) return is;
        std::string other = n;
        std::transform(n.begin(), n.end(), other.begin(), [](unsigned char c) {
            return static_cast<char>(std::isupper(c) != 0 ? std::tolower(c) : std::toupper(c));
        });
        return BorrowedLower::stat_at(d, other);
    }
    lower::Result<struct statvfs> statvfs(int fd) override {
        auto is = BorrowedLower::statvfs(fd);
        if (is) is->f_namemax = longest_name;
        return is;
    }
    lower::Result<void> pwrite(int fd, Bytes in, std::uint64_t off) override {
        if (!changes_what_is_written) return BorrowedLower::pwrite(fd, in, off);
        ByteVector other(in.begin(), in.end());
        other.back() = std::byte{'X'};
        return BorrowedLower::pwrite(fd, other, off);
    }
};

struct Place {
    TempDir dir;
    std::unique_ptr<lower::LowerFs> real = lower::make_posix_lower_fs();
    std::string main = dir / volume::kConfigName;
    std::string backup = dir / volume::kConfigBackupName;
    std::string state = dir / volume::kStateName;

    VolumeOnDisk on(lower::LowerFs& fs) const {
        auto disk = VolumeOnDisk::open(fs, dir.path());
        REQUIRE(disk);
        return std::move(*disk);
    }
    void make() const {
        const auto disk = on(*real);
        auto creation = VolumeCreation::prepare(disk);
        REQUIRE(creation);
        REQUIRE(creation->finish(cheap(), kPassword));
    }
    bool has_leftovers() const {
        const std::filesystem::directory_iterator all(dir.path());
        return std::any_of(begin(all), end(all), [](const auto& entry) {
            return entry.path().filename().string().starts_with(volume::kConfigTempPrefix);
        });
    }
};

std::vector<std::string> changes_of(const fake::FaultLowerFs& fs) {
    std::vector<std::string> calls = fs.calls();
    std::erase_if(calls, [](const std::string& call) {
        return call != "pwrite" && call != "fsync" && call != "rename";
    });
    return calls;
}

}  // namespace

TEST_CASE("a configuration is durable before it takes its name, and so is the name") {
    Place place;
    place.make();
    fake::FaultLowerFs fs;
    const auto disk = place.on(fs);
    fs.forget_calls();
    REQUIRE(disk.write_config(read_file(place.main)));
    const std::vector<std::string> each{"pwrite", "fsync", "rename", "fsync"};
    std::vector<std::string> both = each;
    both.insert(both.end(), each.begin(), each.end());
    CHECK(changes_of(fs) == both);
}

TEST_CASE("at each moment of a change one whole copy of the configuration is there") {
    Place place;
    place.make();
    const std::string old = read_file(place.main), fresh = old + "\n";
    for (std::uint64_t n = 1;; ++n) {
        INFO("dead at call " << n);
        write_file(place.main, old);
        write_file(place.backup, old);
        fake::FaultLowerFs fs;
        const auto disk = place.on(fs);
        fs.die_at(n);
        if (disk.write_config(fresh)) break;
        const std::string main = read_file(place.main), backup = read_file(place.backup);
        CHECK((main == old || main == fresh));
        CHECK((backup == old || backup == fresh));
        CHECK(place.on(*place.real).read_config());
        place.on(*place.real).remove_leftovers();
        REQUIRE(n < 50);
    }
}

TEST_CASE("a configuration that cannot be written leaves nothing behind") {
    Place place;
    place.make();
    const std::string old = read_file(place.main);
    for (const char* call : {"pwrite", "fsync", "rename"}) {
        INFO(call);
        fake::FaultLowerFs fs;
        const auto disk = place.on(fs);
        fs.fail_at(1, ENOSPC, fake::Calls::named(call));
        const auto written = disk.write_config(old + "\n");
        REQUIRE_FALSE(written);
        CHECK(written.error().kind == FailureKind::kConfigWrite);
        CHECK(read_file(place.main) == old);
        CHECK_FALSE(place.has_leftovers());
    }
}

TEST_CASE("a configuration that reads back otherwise is told") {
    Place place;
    place.make();
    Odd fs(*place.real);
    const auto disk = place.on(fs);
    fs.changes_what_is_written = true;
    const auto written = disk.write_config(read_file(place.main));
    REQUIRE_FALSE(written);
    CHECK(written.error().kind == FailureKind::kConfigWrite);
}

TEST_CASE("a first configuration replaces none") {
    Place place;
    place.make();
    const std::string old = read_file(place.main);
    const auto written = place.on(*place.real).write_first_config("other");
    REQUIRE_FALSE(written);
    CHECK(written.error().kind == FailureKind::kCipherDir);
    CHECK(read_file(place.main) == old);
    CHECK_FALSE(place.has_leftovers());
}

TEST_CASE("a configuration of another kind of file is damage") {
    Place place;
    place.make();
    unlink(place.backup.c_str());
    unlink(place.main.c_str());
    REQUIRE(mkfifo(place.main.c_str(), 0600) == 0);
    CHECK(place.on(*place.real).read_config().error().kind == FailureKind::kDamage);
    unlink(place.main.c_str());
    REQUIRE(mkdir(place.main.c_str(), 0700) == 0);
    CHECK(place.on(*place.real).read_config().error().kind == FailureKind::kDamage);
}

TEST_CASE("a volume is refused where its names do not survive") {
    Place place;
    place.make();
    Odd fs(*place.real);
    const auto disk = place.on(fs);
    const auto config = disk.read_config();
    REQUIRE(config);
    const auto& names = config->usable.front().config;
    CHECK(disk.check_names_survive(names));
    SECTION("they fold") {
        fs.folds = true;
    }
    SECTION("they are too long") {
        fs.longest_name = 143;
    }
    CHECK(disk.check_names_survive(names).error().kind == FailureKind::kCipherDir);
}

TEST_CASE("a new volume says clean before it can be mounted, whenever it is killed") {
    std::uint64_t n = 1;
    for (bool whole = false; !whole; ++n) {
        REQUIRE(n < 60);
        INFO("dead at call " << n);
        Place place;
        fake::FaultLowerFs fs;
        const auto disk = place.on(fs);
        fs.die_at(n);
        if (auto creation = VolumeCreation::prepare(disk))
            whole = creation->finish(cheap(), kPassword).has_value();
        if (std::filesystem::exists(place.main)) CHECK(read_file(place.state) == "clean\n");
    }
}

TEST_CASE("a volume that was made meanwhile is not replaced") {
    Place place, other;
    other.make();
    Odd fs(*place.real);
    const auto disk = place.on(fs);
    fs.once_state_is_open = [&] { write_file(place.main, read_file(other.main)); };
    CHECK(VolumeCreation::prepare(disk).error().kind == FailureKind::kCipherDir);
    CHECK(read_file(place.main) == read_file(other.main));
}

TEST_CASE("what the state file says is durable") {
    Place place;
    fake::FaultLowerFs fs;
    const auto disk = place.on(fs);
    auto lock = WriterLock::acquire(fs, disk.root_fd());
    REQUIRE(lock);
    for (const bool clean : {false, true}) {
        fs.forget_calls();
        REQUIRE((clean ? lock->end_clean() : lock->begin_writing()));
        CHECK(changes_of(fs) == std::vector<std::string>{"pwrite", "fsync"});
    }
}

TEST_CASE("a state file that was replaced before it was locked guards nothing") {
    Place place;
    Odd fs(*place.real);
    const auto disk = place.on(fs);
    fs.once_state_is_open = [&] {
        unlink(place.state.c_str());
        write_file(place.state, "dirty\n");
    };
    const auto first = WriterLock::acquire(fs, disk.root_fd());
    REQUIRE(first);
    const auto second = WriterLock::acquire(*place.real, disk.root_fd());
    REQUIRE_FALSE(second);
    CHECK(second.error().kind == FailureKind::kLocked);
}

TEST_CASE("a device is no state file") {
    Place place;
    if (mknod(place.state.c_str(), S_IFCHR | 0600, makedev(1, 3)) != 0) return;  // for root only
    CHECK_FALSE(WriterLock::acquire(*place.real, place.on(*place.real).root_fd()));
}
