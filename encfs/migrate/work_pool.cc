// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/work_pool.h"

#include <chrono>
#include <csignal>

namespace extencfs::migrate {
namespace {

constexpr std::size_t kMostWaitingEach = 256;
constexpr std::chrono::milliseconds kPause{100};

}  // namespace

WorkPool::WorkPool(unsigned jobs) : most_waiting_(kMostWaitingEach * jobs) {
    if (jobs <= 1) return;
    // Signals are the main thread's business.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; i < jobs; ++i) threads_.emplace_back([this] { work(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

WorkPool::~WorkPool() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
    }
    wanted_.notify_all();
    for (auto& thread : threads_) thread.join();
}

void WorkPool::put(Task task, const std::function<void()>& meanwhile) {
    if (threads_.empty()) {
        task();
        if (meanwhile) meanwhile();
        return;
    }
    if (meanwhile) meanwhile();
    std::unique_lock lock(mutex_);
    while (!taken_.wait_for(lock, kPause, [this] { return waiting_.size() < most_waiting_; })) {
        lock.unlock();
        if (meanwhile) meanwhile();
        lock.lock();
    }
    waiting_.push_back(std::move(task));
    lock.unlock();
    wanted_.notify_one();
}

void WorkPool::drain(const std::function<void()>& meanwhile) {
    std::unique_lock lock(mutex_);
    while (!taken_.wait_for(lock, kPause, [this] { return waiting_.empty() && running_ == 0; })) {
        lock.unlock();
        if (meanwhile) meanwhile();
        lock.lock();
    }
}

void WorkPool::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wanted_.wait(lock, [this] { return ending_ || !waiting_.empty(); });
        if (waiting_.empty()) return;
        {
            Task task = std::move(waiting_.front());
            waiting_.pop_front();
            ++running_;
            lock.unlock();
            task();
        }
        lock.lock();
        --running_;
        taken_.notify_one();
    }
}

}  // namespace extencfs::migrate
