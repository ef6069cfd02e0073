// SPDX-License-Identifier: Apache-2.0
// The password of an EncFS volume, changed where calls fail or the program is killed.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

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
        const auto secret = open_legacy_key(changed, kPassword);
        REQUIRE(secret);
        REQUIRE(set_legacy_password(changed, secret->bytes(), bytes_of("new")));
    }
    static LegacyConfig make() {
        auto made = new_legacy_volume(extencfs::test::cheap_encfs(128), kPassword);
        REQUIRE(made);
        return std::move(made->config);
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
