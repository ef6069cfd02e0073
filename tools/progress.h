// SPDX-License-Identifier: Apache-2.0
// A spinner with a few words, on stderr, while a person waits.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace extencfs::tools {

// Appears after a moment, on a terminal only, and leaves an empty line behind when it dies.
// It has a thread: make none before a fork.
class Progress {
  public:
    explicit Progress(std::string words);
    ~Progress();
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

  private:
    void turn();

    std::string words_;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool done_ = false;  // guarded by mutex_
    std::thread thread_;
};

}  // namespace extencfs::tools
