// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/cpu_handoff.h"

#include <unistd.h>

#include <chrono>
#include <utility>

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
    members_.push_back({::gettid(), own_cpu_clock(), 0, 0});
    if (yielding_) set_yielding(members_.back().id, true);
}

void CpuHandoff::leave() {
    std::lock_guard lock(mutex_);
    const pid_t self = ::gettid();
    if (std::erase_if(members_, [self](const Member& each) { return each.id == self; }) != 0)
        set_yielding(self, false);
}

void CpuHandoff::watch_also(Hooks hooks) {
    std::lock_guard lock(mutex_);
    hooks_ = std::move(hooks);
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
    for (Member& member : members_) {
        const std::uint64_t now = cpu_time_ns(member.clock);
        const bool ran = now != member.cpu_ns;
        member.cpu_ns = now;
        member.stuck = !ran && is_runnable(member.id) ? member.stuck + 1 : 0;
        starving = starving || member.stuck >= kStarvingLooks;
    }
    return starving || (hooks_.falls_behind && hooks_.falls_behind());
}

void CpuHandoff::apply_locked(bool yielding) {
    if (yielding == yielding_) return;
    for (Member& member : members_) {
        member.stuck = 0;
        set_yielding(member.id, yielding);
    }
    yielding_ = yielding;
    if (hooks_.changed) hooks_.changed(yielding);
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
