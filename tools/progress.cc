// SPDX-License-Identifier: Apache-2.0
#include "tools/progress.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <string_view>

namespace extencfs::tools {
namespace {

constexpr std::chrono::milliseconds kBeforeFirst{300};
constexpr std::chrono::milliseconds kTurn{120};
constexpr std::array<char, 4> kFaces{'|', '/', '-', '\\'};

void show(std::string_view text) {
    (void)!::write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

Progress::Progress(std::string words) : words_(std::move(words)) {
    if (isatty(STDERR_FILENO) == 0) return;
    // Signals are the main thread's business.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { turn(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Progress::~Progress() {
    if (!thread_.joinable()) return;
    {
        const std::lock_guard lock(mutex_);
        done_ = true;
    }
    ended_.notify_one();
    thread_.join();
}

void Progress::turn() {
    std::unique_lock lock(mutex_);
    auto pause = kBeforeFirst;
    bool shown = false;
    for (std::size_t i = 0; !ended_.wait_for(lock, pause, [this] { return done_; }); ++i) {
        pause = kTurn;
        shown = true;
        show("\r" + words_ + " " + kFaces[i % kFaces.size()]);
    }
    if (shown) show("\r\x1b[K");
}

}  // namespace extencfs::tools
