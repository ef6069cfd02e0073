// SPDX-License-Identifier: Apache-2.0
// Gates: whether what a reader found may be published, or a change came in between. One clock for
// all of them: a token is the clock before a read, good for every gate that nothing passed since.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace extencfs::meta {

using Token = std::uint64_t;

// Ticks at the begin and at the end of each change.
// Memory order: a change ticks before its first lower call and after its last one, and a reader
// looks before its own. A tick that the reader's look includes happened before the reader's lower
// calls (acquire and release), and so did what the change did below if it was the tick of its end.
class Clock {
  public:
    Token now() const { return ticks_.load(std::memory_order_acquire); }
    Token tick() { return ticks_.fetch_add(1, std::memory_order_acq_rel) + 1; }

  private:
    std::atomic<Token> ticks_{0};
};

// Of one gate; guarded by the gate's mutex.
class Window {
  public:
    void begin(Clock& clock) {
        ++writers_;
        last_ = clock.tick();
    }
    void end(Clock& clock) {
        --writers_;
        last_ = clock.tick();
    }
    // `own`: changes under way that are the publisher's own, 0 or 1. Whoever publishes within his
    // own change took the token after its last lower call; a reader, outside of any.
    // Invariant: true only if the record's lower state is what it was when the token was taken: a
    // change that is under way is counted, and one that began or ended since has a later tick.
    bool admits(Token token, unsigned own) const { return writers_ == own && last_ <= token; }

  private:
    unsigned writers_ = 0;
    Token last_ = 0;
};

}  // namespace extencfs::meta
