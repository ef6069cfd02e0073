// SPDX-License-Identifier: Apache-2.0
// Ends a mount in order: on SIGTERM, SIGINT or SIGHUP, and when nobody used it for a while.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "encfs/daemon/failure.h"
#include "encfs/daemon/log.h"
#include "encfs/fuse/session.h"
#include "encfs/lower/fd.h"

namespace extencfs::daemon {

// Blocks the ending signals in this thread and all that it starts from now on, so that only the
// supervisor sees them. Ignores SIGPIPE.
void block_ending_signals();

class Supervisor {
  public:
    // `idle_limit` 0: never. `session`, `log` must outlive this. REQUIRES: block_ending_signals().
    // ERRORS: kOther.
    static Outcome<std::unique_ptr<Supervisor>> start(fuse::Session& session, Log& log,
                                                      std::string mountpoint,
                                                      std::chrono::milliseconds idle_limit);
    ~Supervisor();
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;

  private:
    Supervisor(fuse::Session& session, Log& log, std::string mountpoint,
               std::chrono::milliseconds idle_limit)
        : session_(session),
          log_(log),
          mountpoint_(std::move(mountpoint)),
          idle_limit_(idle_limit) {}
    void watch();
    void end_by_signal();
    void detach_busy_mount();
    bool unmount_if_idle();

    fuse::Session& session_;
    Log& log_;
    std::string mountpoint_;
    std::chrono::milliseconds idle_limit_;
    std::uint64_t last_requests_ = 0;
    std::chrono::steady_clock::time_point last_use_{};
    lower::Fd signals_;
    lower::Fd stop_;  // eventfd
    std::thread thread_;
};

}  // namespace extencfs::daemon
