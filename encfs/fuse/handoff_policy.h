// SPDX-License-Identifier: Apache-2.0
// When ring threads yield to the clients they serve (ADR 0008). Pure: no clock, no thread.
#pragma once

#include <chrono>
#include <cstdint>

namespace extencfs::fuse {

class HandoffPolicy {
  public:
    using Ms = std::chrono::milliseconds;
    struct Look {
        Ms now;                  // since any fixed moment
        std::uint64_t requests;  // over the rings, so far
        std::uint64_t idle_ms;   // of all processors together, so far
        bool starving;           // a ring thread has waited for its processor for several looks
    };
    // kParked: nothing comes; the next look is when something does. kWatching: ordinary scheduling.
    enum class State { kParked, kWatching, kYielding };

    // Returns the state from now on.
    State look(const Look& look);
    // Until the next look, unless parked.
    Ms pause() const;
    State state() const { return state_; }
    // How often yielding was given up because it did harm or no good.
    std::uint64_t withdrawn() const { return withdrawn_; }

  private:
    State to(State state, const Look& look);
    State withdraw(const Look& look);

    State state_ = State::kParked;
    Look window_{};  // the look at which the present window began
    Ms busy_at_{0};  // the last look that found requests
    Ms yielding_since_{0};
    Ms looked_{0};
    Ms hold_off_{0};  // after the next withdrawal
    Ms not_before_{0};
    std::uint64_t withdrawn_ = 0;
};

}  // namespace extencfs::fuse
