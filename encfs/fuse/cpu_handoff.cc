// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/cpu_handoff.h"

#include <unistd.h>

#include <chrono>

#include "encfs/fuse/scheduler.h"

namespace extencfs::fuse {

namespace {
// One look may fall between a wake-up and the switch that follows.
constexpr unsigned kStarvingLooks = 2;
// What the kernel tells of idle time moves in steps of this: no need to read it at each look.
constexpr HandoffPolicy::Ms kIdleStep{10};
}  // namespace

CpuHandoff::CpuHandoff() : watcher_([this] { watch(); }) {}

CpuHandoff::~CpuHandoff() {
    stop();
}

void CpuHandoff::stop() {
    if (!watcher_.joinable()) return;
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    watcher_.join();
}

void CpuHandoff::join() {
    std::lock_guard lock(mutex_);
    rings_.push_back({::gettid(), own_cpu_clock(), 0, 0});
    if (yielding_) set_yielding(rings_.back().id, true);
}

void CpuHandoff::unpark() {
    {
        std::lock_guard lock(mutex_);
        parked_ = false;
    }
    changed_.notify_one();
}

bool CpuHandoff::starving_locked() {
    bool starving = false;
    for (Ring& ring : rings_) {
        const std::uint64_t now = cpu_time_ns(ring.clock);
        const bool ran = now != ring.cpu_ns;
        ring.cpu_ns = now;
        ring.stuck = !ran && is_runnable(ring.id) ? ring.stuck + 1 : 0;
        starving = starving || ring.stuck >= kStarvingLooks;
    }
    return starving;
}

void CpuHandoff::apply_locked(bool yielding) {
    if (yielding == yielding_) return;
    for (Ring& ring : rings_) {
        ring.stuck = 0;
        set_yielding(ring.id, yielding);
    }
    yielding_ = yielding;
}

void CpuHandoff::watch() {
    using State = HandoffPolicy::State;
    HandoffPolicy policy;
    HandoffPolicy::Ms idle_read{0};
    std::uint64_t idle_ms = 0;
    std::unique_lock lock(mutex_);
    while (!stopping_) {
        const auto now = std::chrono::duration_cast<HandoffPolicy::Ms>(
            std::chrono::steady_clock::now().time_since_epoch());
        if (now - idle_read >= kIdleStep) {
            idle_ms = idle_time_ms();
            idle_read = now;
        }
        const bool starving = policy.state() == State::kYielding && starving_locked();
        const State state =
            policy.look({now, requests_.load(std::memory_order_relaxed), idle_ms, starving});
        apply_locked(state == State::kYielding);
        withdrawn_ = policy.withdrawn();
        if (state == State::kParked) {
            parked_ = true;
            changed_.wait(lock, [this] { return stopping_ || !parked_; });
        } else {
            changed_.wait_for(lock, policy.pause(), [this] { return stopping_; });
        }
    }
    apply_locked(false);
}

}  // namespace extencfs::fuse
