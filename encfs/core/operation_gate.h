// SPDX-License-Identifier: Apache-2.0
// Lets operations through side by side, and now and then somebody alone: a step of a rotation of
// keys, which changes what no lock of theirs covers.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <shared_mutex>

#include "encfs/core/writer_first_mutex.h"

namespace extencfs::core {

// THREADS: any. LOCKS: before all others of the file system. A thread enters it once: two holds of
// one thread deadlock with whoever wants to be alone.
class OperationGate {
  public:
    using Entered = std::shared_lock<WriterFirstMutex>;
    // Each thread has a stripe of its own, as far as they go: to enter costs no shared cache line.
    [[nodiscard]] Entered enter() { return Entered(stripes_[mine()].mutex); }

    // Alone, by std::unique_lock: waits for all who are in, and keeps who comes waiting.
    void lock() {
        for (Stripe& stripe : stripes_) stripe.mutex.lock();  // lint-allow(unlock-by-hand): a lock
    }
    void unlock() {
        for (Stripe& stripe : stripes_) stripe.mutex.unlock();  // lint-allow(unlock-by-hand): too
    }

  private:
    static constexpr std::size_t kStripes = 16;
    struct alignas(128) Stripe {
        WriterFirstMutex mutex;
    };
    static std::size_t mine() {
        static std::atomic<std::size_t> threads{0};
        static thread_local const std::size_t number = threads++ % kStripes;
        return number;
    }
    std::array<Stripe, kStripes> stripes_;
};

}  // namespace extencfs::core
