// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/places.h"

#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include "tests/fake/scratch_dir.h"

using namespace extencfs;
using namespace extencfs::migrate;

TEST_CASE("places that lie in each other are known, by whatever path") {
    const auto dir = fake::ScratchDir::in_memory();
    const std::string old_place = dir.path("old");
    REQUIRE(::mkdir(old_place.c_str(), 0700) == 0);
    REQUIRE(::symlink("old", dir.path("link").c_str()) == 0);
    CHECK(lie_in_each_other(old_place, old_place + "/"));
    CHECK(lie_in_each_other(old_place, old_place + "/new"));
    CHECK(lie_in_each_other(dir.path("link") + "/new", old_place));
    CHECK(lie_in_each_other(dir.path(), old_place));
    CHECK(lie_in_each_other(old_place + "/x/..", old_place));
    CHECK_FALSE(lie_in_each_other(old_place, dir.path("older")));
    CHECK_FALSE(lie_in_each_other(old_place, dir.path("new/deeper")));
}

TEST_CASE("free room is that of the file system, also of what is missing yet") {
    const auto dir = fake::ScratchDir::in_memory();
    CHECK(free_bytes_at(dir.path()) > 0);
    CHECK(free_bytes_at(dir.path("not/there/yet")) > 0);
}
