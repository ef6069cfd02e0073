// SPDX-License-Identifier: Apache-2.0
// Keeps a client and the thread that serves it on one processor (ADR 0008).
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "encfs/fuse/handoff_policy.h"

namespace extencfs::fuse {

// REQUIRES: can_yield().
// THREADS: any; join() and leave() for the calling one.
class CpuHandoff {
  public:
    CpuHandoff();
    ~CpuHandoff();
    CpuHandoff(const CpuHandoff&) = delete;
    CpuHandoff& operator=(const CpuHandoff&) = delete;

    struct Hooks {
        std::function<bool()> falls_behind;  // a reason to withdraw, asked at each look
        std::function<void(bool yielding)> changed;
    };
    // Both are called on the watching thread with a lock held: they may not call back.
    void watch_also(Hooks hooks);

    // A request has come.
    void count() {
        requests_.fetch_add(1, std::memory_order_relaxed);
        if (parked_.load(std::memory_order_relaxed)) unpark();
    }
    // The same on a ring thread, which joins with its first one and may end at any time.
    void count_on_ring() {
        static thread_local const CpuHandoff* joined = nullptr;
        if (joined != this) {
            join();
            joined = this;
        }
        count();
    }
    // From here on the calling thread is one of those that yield, until it leaves.
    void join();
    void leave();
    // All get their ordinary policy back and are not looked at again.
    void stop();
    bool yielding() const { return yielding_.load(std::memory_order_relaxed); }
    std::uint64_t withdrawn() const { return withdrawn_.load(std::memory_order_relaxed); }

  private:
    struct Member {
        pid_t id;
        clockid_t clock;
        std::uint64_t cpu_ns;
        unsigned stuck;  // looks in a row at which it could have run and had not
    };
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
    std::vector<Member> members_;
    Hooks hooks_;
    bool stopping_ = false;
    std::thread watcher_;  // last: it uses all of the above
};

}  // namespace extencfs::fuse
