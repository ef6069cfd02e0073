// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/leader_watch.h"

#include <catch2/catch.hpp>

namespace extencfs::fuse {

namespace {

void work(LeaderWatch& watch, int requests, bool others_wait) {
    for (int i = 0; i < requests; ++i) {
        watch.begin();
        watch.sample(others_wait);
        watch.end();
    }
}

}  // namespace

TEST_CASE("a leader that works on many short requests keeps up", "[handoff]") {
    LeaderWatch watch;
    for (int look = 0; look < 100; ++look) {
        work(watch, 100, false);
        watch.begin();  // each look falls into a request, but into another one
        CHECK_FALSE(watch.falls_behind());
        watch.end();
    }
}

TEST_CASE("a leader without requests keeps up", "[handoff]") {
    LeaderWatch watch;
    work(watch, 1, false);
    for (int look = 0; look < 100; ++look) CHECK_FALSE(watch.falls_behind());
}

TEST_CASE("a request that takes several looks is noticed, and its end", "[handoff]") {
    LeaderWatch watch;
    watch.begin();
    CHECK_FALSE(watch.falls_behind());
    CHECK_FALSE(watch.falls_behind());
    CHECK(watch.falls_behind());
    watch.end();
    CHECK_FALSE(watch.falls_behind());
}

TEST_CASE("clients that wait in most samples are a crowd, now and then one is not", "[handoff]") {
    LeaderWatch watch;
    work(watch, 15, true);
    CHECK_FALSE(watch.falls_behind());  // too early to tell
    work(watch, 1, true);
    CHECK(watch.falls_behind());
    work(watch, 16, false);
    CHECK_FALSE(watch.falls_behind());
    for (int i = 0; i < 100; ++i) {
        work(watch, 1, true);
        work(watch, 1, false);
    }
    CHECK_FALSE(watch.falls_behind());
}

TEST_CASE("the next leader begins with a clean record", "[handoff]") {
    LeaderWatch watch;
    work(watch, 16, true);
    watch.begin();
    for (int look = 0; look < 3; ++look) watch.falls_behind();
    watch.reset();
    CHECK_FALSE(watch.falls_behind());
    work(watch, 15, true);
    CHECK_FALSE(watch.falls_behind());
}

}  // namespace extencfs::fuse
