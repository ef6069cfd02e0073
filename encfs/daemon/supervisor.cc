// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "encfs/daemon/mount_table.h"

namespace extencfs::daemon {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How long a busy mount's last pages may take on their way to the daemon when it is told to end.
constexpr milliseconds kDrainLimit{10'000};
constexpr milliseconds kQuiet{200};

sigset_t ending_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, number);
    return set;
}

}  // namespace

void block_ending_signals() {
    const sigset_t set = ending_signals();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signal(SIGPIPE, SIG_IGN);
}

Outcome<std::unique_ptr<Supervisor>> Supervisor::start(fuse::Session& session, Log& log,
                                                       std::string mountpoint,
                                                       milliseconds idle_limit, OnDemand* on_demand,
                                                       LiveRotation* rotation) {
    std::unique_ptr<Supervisor> made(
        new Supervisor(session, log, std::move(mountpoint), idle_limit, on_demand, rotation));
    const sigset_t set = ending_signals();
    made->signals_ = lower::Fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    made->stop_ = lower::Fd(eventfd(0, EFD_CLOEXEC));
    if (!made->signals_ || !made->stop_) {
        return fail(FailureKind::kOther, "the daemon cannot watch for signals (", errno_text(errno),
                    "); close other programs and try again");
    }
    made->last_use_ = SteadyClock::now();
    made->thread_ = std::thread([raw = made.get()] { raw->watch(); });
    return made;
}

Supervisor::~Supervisor() {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    (void)!::write(stop_.get(), &one, sizeof one);
    thread_.join();
}

void Supervisor::watch() {
    const int pause =
        idle_limit_.count() == 0
            ? -1
            : static_cast<int>(std::clamp<std::int64_t>(idle_limit_.count() / 8, 50, 30'000));
    for (;;) {
        pollfd waits[2] = {{signals_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
        const int ready = poll(waits, 2, pause);
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0 || waits[1].revents != 0) return;
        if (waits[0].revents != 0) {
            signalfd_siginfo info{};
            if (::read(signals_.get(), &info, sizeof info) == sizeof info) end_by_signal();
        } else if (act_if_idle()) {
            return;
        }
    }
}

void Supervisor::end_by_signal() {
    log_.write(LogLevel::kNotice, "end", "unmounting {} on a signal", mountpoint_);
    // One that is under way is cut short, and another does not begin.
    if (rotation_ != nullptr && !rotation_->hold_back()) rotation_->stop();
    // Once nothing is mounted any more, run() ends by itself.
    if (session_.unmount()) return;
    detach_busy_mount();
    session_.request_exit();
}

void Supervisor::detach_busy_mount() {
    log_.write(LogLevel::kWarning, "end", "files are still open on {}: they are cut off",
               mountpoint_);
    // Without keys nothing waits to be written, and to look would ask for them.
    if (on_demand_ != nullptr && !on_demand_->has_keys()) {
        (void)unmount_path(mountpoint_, Detach::kLazily);
        return;
    }
    const lower::Fd top(::open(mountpoint_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    (void)unmount_path(mountpoint_, Detach::kLazily);
    if (!top) return;
    // Pages that the kernel still holds become requests now; serve them before the end.
    syncfs(top.get());
    const auto until = SteadyClock::now() + kDrainLimit;
    std::uint64_t before = session_.requests_total();
    while (SteadyClock::now() < until) {
        std::this_thread::sleep_for(kQuiet);
        const std::uint64_t now = session_.requests_total();
        if (now == before) return;
        before = now;
    }
}

bool Supervisor::act_if_idle() {
    const std::uint64_t now =
        on_demand_ != nullptr ? on_demand_->uses() : session_.requests_total();
    // Half way, an unmount would be for long.
    const auto keys = rotation_ != nullptr ? rotation_->state() : LiveRotation::State::kNone;
    if (now != last_requests_ || keys != LiveRotation::State::kNone) {
        last_requests_ = now;
        last_use_ = SteadyClock::now();
        return false;
    }
    if (SteadyClock::now() - last_use_ < idle_limit_) return false;
    if (on_demand_ == nullptr) return unmount_idle();
    (void)on_demand_->forget();
    return false;
}

bool Supervisor::unmount_idle() {
    // Refused while files are open or somebody stands in it: that is use, too.
    if ((rotation_ != nullptr && !rotation_->hold_back()) || !session_.unmount()) {
        if (rotation_ != nullptr) rotation_->let_begin();
        last_use_ = SteadyClock::now();
        return false;
    }
    log_.write(LogLevel::kNotice, "end", "unmounted {}: nobody used it for {} s", mountpoint_,
               idle_limit_.count() / 1000);
    return true;
}

}  // namespace extencfs::daemon
