// SPDX-License-Identifier: Apache-2.0
// The password of an EncFS volume, changed where calls fail or the program is killed.
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstdlib>
#include <thread>

#include "encfs/daemon/legacy_key.h"
#include "encfs/lower/lower_fs.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/fake/scratch_dir.h"
#include "tests/unit/daemon/cheap_volume.h"
#include "tests/unit/daemon/temp_dir.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::kPassword;
using extencfs::test::read_file;

namespace {

constexpr const char* kName = ".encfs6.xml";

struct Place {
    fake::ScratchDir dir = fake::ScratchDir::in_memory();
    std::unique_ptr<lower::LowerFs> real = lower::make_posix_lower_fs();
    LegacyConfig changed;  // to the password "new"

    Place() : changed(make()) {
        REQUIRE(write_legacy_config(*real, dir.fd(), changed));
        changed = read_and_change("new");
    }
    // As a command does, up to the moment of writing.
    LegacyConfig read_and_change(std::string_view password) const {
        auto config = read_legacy_config(*real, dir.fd(), "");
        REQUIRE(config);
        REQUIRE(*config);
        const auto secret = open_legacy_key(**config, kPassword);
        REQUIRE(secret);
        REQUIRE(set_legacy_password(**config, secret->bytes(), bytes_of(password)));
        return std::move(**config);
    }
    static LegacyConfig make() {
        auto made = new_legacy_volume(extencfs::test::cheap_encfs(128), kPassword);
        REQUIRE(made);
        return std::move(made->config);
    }
    std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (const auto& entry : std::filesystem::directory_iterator(dir.path())) {
            all.push_back(entry.path().filename());
        }
        return all;
    }
    bool opens(std::string_view password) const {
        const auto config = read_legacy_config(*real, dir.fd(), "");
        REQUIRE(config);
        REQUIRE(*config);
        return open_legacy_key(**config, bytes_of(password)).has_value();
    }
};

}  // namespace

TEST_CASE("an EncFS password that fails to be changed at any call is told truly") {
    for (const bool kill : {false, true}) {
        for (std::uint64_t n = 1;; ++n) {
            INFO((kill ? "killed" : "failed") << " at call " << n);
            REQUIRE(n < 40);
            const Place place;
            fake::FaultLowerFs fs;
            kill ? fs.die_at(n) : fs.fail_at(n, EIO, fake::Calls::any());
            const auto done = write_legacy_config(fs, place.dir.fd(), place.changed);
            const bool is_new = place.opens("new");
            CHECK(place.opens("right") != is_new);
            if (done) CHECK(is_new);
            if (!kill && !done) {
                INFO(done.error().sentence);
                CHECK((done.error().sentence.find("in force") != std::string::npos) == is_new);
            }
            if (kill ? !fs.dead() : fs.count() < n) break;
        }
    }
}

TEST_CASE("the old wrapped key of an EncFS volume is overwritten") {
    const Place place;
    const lower::Fd old(::open(place.dir.path(kName).c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(old);
    REQUIRE(write_legacy_config(*place.real, place.dir.fd(), place.changed));
    std::string bytes(1 << 16, '?');
    const ssize_t size = ::pread(old.get(), bytes.data(), bytes.size(), 0);
    REQUIRE(size > 100);
    bytes.resize(static_cast<std::size_t>(size));
    CHECK(std::ranges::all_of(bytes, [](char c) { return c == '\0'; }));
    CHECK(place.opens("new"));
}

TEST_CASE("of EncFS passwords that are changed at once, one is in force, and says so") {
    constexpr int kChanges = 4;
    for (int round = 0; round < 20; ++round) {
        const Place place;
        std::vector<LegacyConfig> configs;
        for (int i = 0; i < kChanges; ++i) {
            configs.push_back(place.read_and_change("new " + std::to_string(i)));
        }
        std::barrier start(kChanges);
        std::atomic<int> done = 0, winner = -1, misled = 0;
        {
            std::vector<std::jthread> threads;
            for (int i = 0; i < kChanges; ++i) {
                threads.emplace_back([&, i] {
                    const auto fs = lower::make_posix_lower_fs();
                    start.arrive_and_wait();
                    const auto written = write_legacy_config(*fs, place.dir.fd(), configs[i]);
                    if (written) {
                        ++done;
                        winner = i;
                    } else if (written.error().kind != FailureKind::kLocked) {
                        ++misled;
                    }
                });
            }
        }
        CHECK(done == 1);
        CHECK(misled == 0);
        CHECK(place.opens("new " + std::to_string(winner)));
        CHECK(place.names() == std::vector<std::string>{kName});
    }
}

TEST_CASE("an EncFS password is not changed over another change") {
    const Place place;
    REQUIRE(write_legacy_config(*place.real, place.dir.fd(), place.read_and_change("another")));
    const auto late = write_legacy_config(*place.real, place.dir.fd(), place.changed);
    REQUIRE_FALSE(late);
    CHECK(late.error().kind == FailureKind::kLocked);
    CHECK(place.opens("another"));
    SECTION("nor where the configuration is gone") {
        REQUIRE(::unlink(place.dir.path(kName).c_str()) == 0);
        CHECK_FALSE(write_legacy_config(*place.real, place.dir.fd(), place.changed));
        CHECK(place.names().empty());
    }
}

TEST_CASE("an EncFS password is not changed while somebody else does") {
    const Place place;
    const lower::Fd other(::open(place.dir.path(kName).c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(::flock(other.get(), LOCK_EX | LOCK_NB) == 0);
    const auto beside = write_legacy_config(*place.real, place.dir.fd(), place.changed);
    REQUIRE_FALSE(beside);
    CHECK(beside.error().kind == FailureKind::kLocked);
    CHECK(place.opens("right"));
    // A mount of this project locks the directory: a change beside it does no harm.
    REQUIRE(::flock(other.get(), LOCK_UN) == 0);
    const lower::Fd mount(::open(place.dir.path().c_str(), O_RDONLY | O_CLOEXEC));
    REQUIRE(::flock(mount.get(), LOCK_EX | LOCK_NB) == 0);
    REQUIRE(write_legacy_config(*place.real, place.dir.fd(), place.changed));
    CHECK(place.opens("new"));
}

TEST_CASE("an EncFS password is not changed in the middle of a migration") {
    const Place place;
    extencfs::test::write_file(place.dir.path(volume::kMigrationName), "");
    const auto done = write_legacy_config(*place.real, place.dir.fd(), place.changed);
    REQUIRE_FALSE(done);
    CHECK(done.error().kind == FailureKind::kMigrating);
    CHECK(place.opens("right"));
}

TEST_CASE("a new EncFS volume takes no other's place") {
    const Place place;
    const auto made = write_legacy_config(*place.real, place.dir.fd(), Place::make());
    REQUIRE_FALSE(made);
    CHECK(made.error().kind == FailureKind::kCipherDir);
    CHECK(place.opens("right"));
    CHECK(place.names() == std::vector<std::string>{kName});
}

TEST_CASE("what a killed change of an EncFS password left goes with the next one") {
    const Place place;
    {
        fake::FaultLowerFs fs;
        fs.die_at(5);
        CHECK_FALSE(write_legacy_config(fs, place.dir.fd(), place.changed));
    }
    REQUIRE(place.names().size() == 2);
    REQUIRE(write_legacy_config(*place.real, place.dir.fd(), place.changed));
    CHECK(place.names() == std::vector<std::string>{kName});
}

TEST_CASE("an EncFS configuration elsewhere is changed where it is, through a symlink too") {
    const Place place;
    const fake::ScratchDir elsewhere = fake::ScratchDir::in_memory();
    std::filesystem::rename(place.dir.path(kName), elsewhere.path("real"));
    std::filesystem::create_symlink("real", elsewhere.path("link"));
    ::setenv("ENCFS6_CONFIG", elsewhere.path("link").c_str(), 1);
    const auto changed = place.read_and_change("new");
    const auto done = write_legacy_config(*place.real, place.dir.fd(), changed);
    const bool opens = place.opens("new");
    ::unsetenv("ENCFS6_CONFIG");
    REQUIRE(done);
    CHECK(opens);
    CHECK(std::filesystem::is_symlink(elsewhere.path("link")));
    CHECK(place.names().empty());
}

TEST_CASE("who changes an EncFS password is told what could not be overwritten") {
    const Place place;
    REQUIRE(::link(place.dir.path(kName).c_str(), place.dir.path("other").c_str()) == 0);
    Notices left;
    REQUIRE(write_legacy_config(*place.real, place.dir.fd(), place.changed, &left));
    REQUIRE(left.size() == 1);
    CHECK(left.front().find("hard link") != std::string::npos);
}
