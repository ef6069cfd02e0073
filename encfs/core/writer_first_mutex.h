// SPDX-License-Identifier: Apache-2.0
// A shared mutex that a stream of readers cannot keep a writer from: readers who come while one
// waits come after it. (std::shared_mutex prefers readers.)
#pragma once

#include <atomic>
#include <mutex>
#include <shared_mutex>

namespace extencfs::core {

// THREADS: any. A thread takes it once: two shared holds of one thread deadlock with a writer.
class WriterFirstMutex {
  public:
    void lock() {
        turn_.lock();  // lint-allow(unlock-by-hand): what scopes hold is made here
        writer_ = true;
        mutex_.lock();  // lint-allow(unlock-by-hand): likewise
    }
    void unlock() {
        mutex_.unlock();  // lint-allow(unlock-by-hand): likewise
        writer_ = false;
        turn_.unlock();  // lint-allow(unlock-by-hand): likewise
    }
    void lock_shared() {
        std::unique_lock turn(turn_, std::defer_lock);
        if (writer_) turn = std::unique_lock(turn_);
        mutex_.lock_shared();  // lint-allow(unlock-by-hand): likewise
    }
    // lint-allow(unlock-by-hand): likewise
    void unlock_shared() { mutex_.unlock_shared(); }

  private:
    std::mutex turn_;  // held by the writer from when it waits
    std::atomic<bool> writer_{false};
    std::shared_mutex mutex_;
};

}  // namespace extencfs::core
