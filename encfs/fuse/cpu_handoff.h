// SPDX-License-Identifier: Apache-2.0
// Keeps a client and the ring thread that serves it on one processor (ADR 0008).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <mutex>
#include <thread>
#include <vector>

#include "encfs/fuse/handoff_policy.h"

namespace extencfs::fuse {

// REQUIRES: can_yield().
// THREADS: count() on ring threads, which may end at any time; the rest anywhere.
class CpuHandoff {
  public:
    CpuHandoff();
    ~CpuHandoff();
    CpuHandoff(const CpuHandoff&) = delete;
    CpuHandoff& operator=(const CpuHandoff&) = delete;

    // To be called by a ring thread for each of its requests.
    void count() {
        static thread_local const CpuHandoff* joined = nullptr;
        if (joined != this) {
            join();
            joined = this;
        }
        requests_.fetch_add(1, std::memory_order_relaxed);
        if (parked_.load(std::memory_order_relaxed)) unpark();
    }
    // Ring threads get their ordinary policy back and are not looked at again.
    void stop();
    bool yielding() const { return yielding_.load(std::memory_order_relaxed); }
    std::uint64_t withdrawn() const { return withdrawn_.load(std::memory_order_relaxed); }

  private:
    struct Ring {
        pid_t id;
        clockid_t clock;
        std::uint64_t cpu_ns;
        unsigned stuck;  // looks in a row at which it could have run and had not
    };
    void join();
    void unpark();
    void watch();
    // LOCKS: mutex_ is held.
    bool starving_locked();
    void apply_locked(bool yielding);

    std::atomic<std::uint64_t> requests_{0};
    std::atomic<bool> parked_{false};
    std::atomic<bool> yielding_{false};
    std::atomic<std::uint64_t> withdrawn_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Ring> rings_;
    bool stopping_ = false;
    std::thread watcher_;  // last: it uses all of the above
};

}  // namespace extencfs::fuse
