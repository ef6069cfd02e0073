// SPDX-License-Identifier: Apache-2.0
// Threads for one kind of work, fed by one other thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace extencfs::migrate {

class WorkPool {
  public:
    using Task = std::move_only_function<void()>;

    // With one job there is no thread: put() does the task itself.
    explicit WorkPool(unsigned jobs);
    // Does what was put. REQUIRES: the thread that put it.
    ~WorkPool();
    WorkPool(const WorkPool&) = delete;
    WorkPool& operator=(const WorkPool&) = delete;

    // Waits while too much is waiting. `meanwhile` is called before that, and again and again.
    void put(Task task, const std::function<void()>& meanwhile = {});
    // Until everything that was put is done.
    void drain(const std::function<void()>& meanwhile = {});

  private:
    void work();

    std::mutex mutex_;
    std::condition_variable wanted_;  // something to do, or the end
    std::condition_variable taken_;   // less to do
    std::deque<Task> waiting_;        // guarded by mutex_, like the rest
    std::size_t running_ = 0;
    bool ending_ = false;
    std::size_t most_waiting_;
    std::vector<std::thread> threads_;
};

}  // namespace extencfs::migrate
