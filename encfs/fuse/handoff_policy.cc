// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/handoff_policy.h"

#include <algorithm>

namespace extencfs::fuse {

namespace {

using Ms = HandoffPolicy::Ms;

constexpr Ms kWatchPause{5};
// Also bounds how long a thread can starve: a few of these. A look itself costs, since it sends
// clients to other processors: the longer all goes well, the fewer, a fraction of the time since
// yielding began.
constexpr Ms kFirstYieldPause{2};
constexpr Ms kLongestYieldPause{10};
constexpr int kYieldPauseFraction = 20;
constexpr Ms kWindow{50};  // idle time comes in steps of 10 ms
constexpr Ms kParkAfter{500};
constexpr Ms kFirstHoldOff{250};
constexpr Ms kLongestHoldOff{2000};
constexpr Ms kForgiveAfter{2000};
// Below this the wake-ups cost less than watching.
constexpr std::uint64_t kBusyPerSecond = 2000;
// Of one processor. Where none idles, the scheduler leaves a client where it is anyway.
constexpr double kIdleShare = 0.25;

bool is_busy(std::uint64_t requests, Ms time) {
    return requests * 1000 >= kBusyPerSecond * static_cast<std::uint64_t>(time.count());
}

}  // namespace

HandoffPolicy::State HandoffPolicy::to(State state, const Look& look) {
    if (state == State::kYielding && state_ != State::kYielding) yielding_since_ = look.now;
    state_ = state;
    window_ = look;
    return state;
}

HandoffPolicy::State HandoffPolicy::withdraw(const Look& look) {
    if (look.now - yielding_since_ >= kForgiveAfter) hold_off_ = Ms{0};
    hold_off_ = std::clamp(hold_off_ * 2, kFirstHoldOff, kLongestHoldOff);
    not_before_ = look.now + hold_off_;
    ++withdrawn_;
    return to(State::kWatching, look);
}

HandoffPolicy::State HandoffPolicy::look(const Look& look) {
    looked_ = look.now;
    const Ms passed = look.now - window_.now;
    const std::uint64_t came = look.requests - window_.requests;
    switch (state_) {
        case State::kParked:
            busy_at_ = look.now;
            return to(State::kWatching, look);
        case State::kWatching:
            if (passed < kWatchPause) return state_;
            if (came == 0 && look.now - busy_at_ >= kParkAfter) return to(State::kParked, look);
            if (came != 0) busy_at_ = look.now;
            // Whether processors idle shows only while yielding: before, it is the wake-ups
            // themselves that make them idle.
            if (is_busy(came, passed) && look.now >= not_before_) return to(State::kYielding, look);
            return to(State::kWatching, look);
        case State::kYielding:
            if (look.starving) return withdraw(look);
            if (passed < kWindow) return state_;
            if (!is_busy(came, passed)) {
                busy_at_ = look.now;
                return to(State::kWatching, look);
            }
            if (static_cast<double>(look.idle_ms - window_.idle_ms) <
                kIdleShare * static_cast<double>(passed.count()))
                return withdraw(look);
            return to(State::kYielding, look);
    }
    return state_;
}

HandoffPolicy::Ms HandoffPolicy::pause() const {
    if (state_ != State::kYielding) return kWatchPause;
    return std::clamp((looked_ - yielding_since_) / kYieldPauseFraction, kFirstYieldPause,
                      kLongestYieldPause);
}

}  // namespace extencfs::fuse
