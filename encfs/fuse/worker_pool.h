// SPDX-License-Identifier: Apache-2.0
// A few threads for requests whose encryption takes long: a ring thread that works stalls every
// request of its processor, and the leader of a classic transport every request.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace extencfs::fuse {

// THREADS: submit from any.
class WorkerPool {
  public:
    explicit WorkerPool(unsigned threads);
    // Finishes what was submitted.
    ~WorkerPool();
    WorkerPool(const WorkerPool&) = delete;
    WorkerPool& operator=(const WorkerPool&) = delete;
    void submit(std::move_only_function<void()> work);

  private:
    void serve();
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::move_only_function<void()>> waiting_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace extencfs::fuse
