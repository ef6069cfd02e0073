// SPDX-License-Identifier: Apache-2.0
// A few threads for requests whose encryption takes long: a ring thread that works stalls every
// request of its processor.
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
    void submit(std::function<void()> work);

  private:
    void serve();
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> waiting_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace extencfs::fuse
