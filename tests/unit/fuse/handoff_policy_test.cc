// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/handoff_policy.h"

#include <catch2/catch.hpp>

namespace extencfs::fuse {

namespace {

using State = HandoffPolicy::State;

// A machine on which time passes, requests come and processors idle at given rates.
struct Machine {
    HandoffPolicy policy;
    HandoffPolicy::Look now{.now = HandoffPolicy::Ms{1000}};
    std::uint64_t requests_per_ms = 20;
    double idle_processors = 1;
    double idle = 0;

    // Until `ms` have passed, looking as often as the policy asks; false once parked.
    void pass(int ms, bool starving = false) {
        const auto end = now.now + HandoffPolicy::Ms{ms};
        while (now.now < end) {
            const auto step = policy.pause();
            now.now += step;
            now.requests += requests_per_ms * static_cast<std::uint64_t>(step.count());
            idle += idle_processors * static_cast<double>(step.count());
            now.idle_ms = static_cast<std::uint64_t>(idle) / 10 * 10;
            now.starving = starving;
            if (policy.look(now) == State::kParked) return;
        }
    }
};

}  // namespace

TEST_CASE("busy rings on a machine with idle processors yield soon", "[handoff]") {
    Machine machine;
    machine.pass(20);
    CHECK(machine.policy.state() == State::kYielding);
    machine.pass(5000);
    CHECK(machine.policy.state() == State::kYielding);
    CHECK(machine.policy.withdrawn() == 0);
}

TEST_CASE("few requests change nothing", "[handoff]") {
    Machine machine;
    machine.requests_per_ms = 1;
    machine.pass(1000);
    CHECK(machine.policy.state() == State::kWatching);
}

TEST_CASE("without requests nobody watches any more", "[handoff]") {
    Machine machine;
    machine.pass(100);
    machine.requests_per_ms = 0;
    machine.pass(2000);
    CHECK(machine.policy.state() == State::kParked);
    machine.requests_per_ms = 20;
    machine.pass(20);
    CHECK(machine.policy.state() == State::kYielding);
}

TEST_CASE("a ring thread that starves gets its share back at once, and for longer each time",
          "[handoff]") {
    Machine machine;
    machine.pass(20);
    machine.pass(2, true);
    CHECK(machine.policy.state() == State::kWatching);
    machine.pass(240);
    CHECK(machine.policy.state() == State::kWatching);
    machine.pass(30);
    CHECK(machine.policy.state() == State::kYielding);
    machine.pass(2, true);
    machine.pass(450);
    CHECK(machine.policy.state() == State::kWatching);
    machine.pass(100);
    CHECK(machine.policy.state() == State::kYielding);
    // Long undisturbed: forgiven.
    machine.pass(2100);
    machine.pass(2, true);
    machine.pass(280);
    CHECK(machine.policy.state() == State::kYielding);
    CHECK(machine.policy.withdrawn() == 3);
}

TEST_CASE("the longer yielding does well, the fewer the looks, until it ends", "[handoff]") {
    Machine machine;
    machine.pass(20);
    CHECK(machine.policy.pause() == HandoffPolicy::Ms{2});
    machine.pass(100);
    CHECK(machine.policy.pause() >= HandoffPolicy::Ms{4});
    machine.pass(5000);
    CHECK(machine.policy.pause() == HandoffPolicy::Ms{10});
    machine.pass(2, true);
    machine.pass(300);
    CHECK(machine.policy.pause() == HandoffPolicy::Ms{2});
}

TEST_CASE("a machine without idle processors gives no reason to yield", "[handoff]") {
    Machine machine;
    machine.idle_processors = 0.1;
    machine.pass(70);
    CHECK(machine.policy.state() == State::kWatching);
    unsigned yielding = 0;
    for (int ms = 0; ms < 60000; ms += 5) {
        machine.pass(5);
        yielding += machine.policy.state() == State::kYielding ? 1 : 0;
    }
    // Tried now and then: a window of 50 ms every 2 s.
    CHECK(yielding < 12000 / 25);
}

}  // namespace extencfs::fuse
