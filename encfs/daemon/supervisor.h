// SPDX-License-Identifier: Apache-2.0
// Ends a mount in order: on SIGTERM, SIGINT or SIGHUP, and when nobody used it for a while; one
// that forgets its keys then stays.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "encfs/daemon/failure.h"
#include "encfs/daemon/live_rotation.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/on_demand.h"
#include "encfs/fuse/session.h"
#include "encfs/lower/fd.h"

namespace extencfs::daemon {

// Blocks the ending signals in this thread and all that it starts from now on, so that only the
// supervisor sees them. Ignores SIGPIPE.
void block_ending_signals();

class Supervisor {
  public:
    // `idle_limit` 0: never. `on_demand`: forgets the keys then; may be null. `rotation`: no
    // mount is idle while one is under way, and none begins once this unmounts; may be null. All of
    // them must outlive this. REQUIRES: block_ending_signals(). ERRORS: kOther.
    static Outcome<std::unique_ptr<Supervisor>> start(fuse::Session& session, Log& log,
                                                      std::string mountpoint,
                                                      std::chrono::milliseconds idle_limit,
                                                      OnDemand* on_demand,
                                                      LiveRotation* rotation = nullptr);
    ~Supervisor();
    Supervisor(const Supervisor&) = delete;
    Supervisor& operator=(const Supervisor&) = delete;

  private:
    Supervisor(fuse::Session& session, Log& log, std::string mountpoint,
               std::chrono::milliseconds idle_limit, OnDemand* on_demand, LiveRotation* rotation)
        : session_(session),
          log_(log),
          mountpoint_(std::move(mountpoint)),
          idle_limit_(idle_limit),
          on_demand_(on_demand),
          rotation_(rotation) {}
    void watch();
    void end_by_signal();
    void detach_busy_mount();
    // True: it is unmounted.
    bool act_if_idle();
    bool unmount_idle();

    fuse::Session& session_;
    Log& log_;
    std::string mountpoint_;
    std::chrono::milliseconds idle_limit_;
    OnDemand* on_demand_;
    LiveRotation* rotation_;  // may be null
    std::uint64_t last_requests_ = 0;
    std::chrono::steady_clock::time_point last_use_{};
    lower::Fd signals_;
    lower::Fd stop_;  // eventfd
    std::thread thread_;
};

}  // namespace extencfs::daemon
