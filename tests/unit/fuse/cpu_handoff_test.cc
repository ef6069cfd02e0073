// SPDX-License-Identifier: Apache-2.0
// On real threads, as far as this machine lets them yield.
#include "encfs/fuse/cpu_handoff.h"

#include <sched.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <functional>

#include "encfs/fuse/scheduler.h"

namespace extencfs::fuse {

using namespace std::chrono_literals;

namespace {

// Until `done`, or the time is over.
bool comes_true(const std::function<bool()>& done, int at_most_ms = 10000) {
    for (int i = 0; i < at_most_ms; ++i) {
        if (done()) return true;
        std::this_thread::sleep_for(1ms);
    }
    return false;
}

// A ring thread that has 10,000 requests a second until it is told to rest, then to end.
struct RingThread {
    std::atomic<bool> resting{false}, ending{false};
    std::atomic<pid_t> id{0};
    std::thread thread;
    explicit RingThread(CpuHandoff& handoff)
        : thread([this, &handoff] {
              id = ::gettid();
              while (!ending) {
                  if (!resting) handoff.count();
                  std::this_thread::sleep_for(100us);
              }
          }) {}
    ~RingThread() {
        ending = true;
        thread.join();
    }
    int policy() const { return ::sched_getscheduler(id); }
};

}  // namespace

TEST_CASE("a thread that yields comes back", "[handoff]") {
    if (!can_yield()) {
        WARN("skipped: this process may not take SCHED_IDLE back");
        return;
    }
    CpuHandoff handoff;
    RingThread ring(handoff);
    // Whether the machine has idle processors at this moment is not ours to say.
    if (!comes_true([&] { return ring.policy() == SCHED_IDLE; })) WARN("the machine is too busy");
    ring.resting = true;
    CHECK(comes_true([&] { return ring.policy() == SCHED_OTHER; }));
    ring.resting = false;
    comes_true([&] { return ring.policy() == SCHED_IDLE; });
    handoff.stop();
    CHECK(ring.policy() == SCHED_OTHER);
}

TEST_CASE("ring threads may end while they are watched", "[handoff]") {
    if (!can_yield()) return;
    CpuHandoff handoff;
    for (int i = 0; i < 20; ++i) {
        const RingThread ring(handoff);
        comes_true([&] { return ring.policy() == SCHED_IDLE; }, 100);
    }
    std::this_thread::sleep_for(20ms);
}

TEST_CASE("runnable and not, and processor time", "[handoff]") {
    CHECK(is_runnable(::gettid()));
    const auto before = cpu_time_ns(own_cpu_clock());
    while (cpu_time_ns(own_cpu_clock()) < before + 1'000'000) {
    }
    std::atomic<pid_t> id{0};
    std::atomic<bool> ending{false};
    std::thread sleeper([&] {
        id = ::gettid();
        while (!ending) std::this_thread::sleep_for(50ms);
    });
    CHECK(comes_true([&] { return id != 0 && !is_runnable(id); }));
    ending = true;
    sleeper.join();
}

}  // namespace extencfs::fuse
