// SPDX-License-Identifier: Apache-2.0
// Whether the one thread that receives all requests keeps up with them (ADR 0009). Pure: no clock.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

namespace extencfs::fuse {

// THREADS: reset, begin, end and sample on the thread that receives; falls_behind on the one that
// watches.
class LeaderWatch {
  public:
    // A new thread receives from here on.
    void reset() {
        recent_ = samples_ = 0;
        working_.store(false, std::memory_order_relaxed);
        crowded_.store(false, std::memory_order_relaxed);
    }
    // Around the work on each request.
    void begin() {
        started_.fetch_add(1, std::memory_order_relaxed);
        working_.store(true, std::memory_order_relaxed);
    }
    void end() { working_.store(false, std::memory_order_relaxed); }
    // Now and then: whether another client waited while a request was at work.
    void sample(bool waited) {
        recent_ = recent_ << 1 | (waited ? 1U : 0U);
        if (samples_ < kSamples) ++samples_;
        if (samples_ < kSamples) return;
        crowded_.store(std::popcount(recent_ & kAllSamples) >= kCrowded, std::memory_order_relaxed);
    }
    // To be asked at each look, milliseconds apart. True when one request has been at work for
    // several looks (a slow disk), or when clients queue up.
    bool falls_behind() {
        const auto started = started_.load(std::memory_order_relaxed);
        const bool same = started == started_at_look_ && working_.load(std::memory_order_relaxed);
        started_at_look_ = started;
        stuck_looks_ = same ? stuck_looks_ + 1 : 0;
        return stuck_looks_ >= kStuckLooks || crowded_.load(std::memory_order_relaxed);
    }

  private:
    static constexpr unsigned kStuckLooks = 2;
    static constexpr unsigned kSamples = 16;
    static constexpr unsigned kAllSamples = (1U << kSamples) - 1;
    static constexpr int kCrowded = 10;

    std::atomic<std::uint64_t> started_{0};
    std::atomic<bool> working_{false};
    std::atomic<bool> crowded_{false};
    unsigned recent_ = 0, samples_ = 0;  // the leader's
    std::uint64_t started_at_look_ = 0;  // the watcher's
    unsigned stuck_looks_ = 0;
};

}  // namespace extencfs::fuse
