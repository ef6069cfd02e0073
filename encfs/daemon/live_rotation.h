// SPDX-License-Identifier: Apache-2.0
// What a mount that serves is given to rotate its volume's keys with, on request. The one who does
// it knows the daemon (encfs/rotate), not the other way round.
#pragma once

#include <functional>
#include <memory>

#include "encfs/lower/fd.h"

namespace extencfs::core {
class Filesystem;
}

namespace extencfs::daemon {

class Log;
class VolumeOnDisk;

// THREADS: any. Goes before the file system is finished: what is under way stops at its next step.
class LiveRotation {
  public:
    virtual ~LiveRotation() = default;
    // Whether one is asked for or under way.
    virtual bool is_busy() const = 0;
    // What an unmount would leave.
    enum class State {
        kNone,
        kUnderWay,
        kHalfWay,    // it stopped, to be gone on with: until then nobody could mount the volume
        kForOthers,  // likewise, but not in this mount
    };
    virtual State state() const = 0;
    // Keeps one that is only asked for from beginning, until let_begin(). False: one is under way.
    virtual bool hold_back() = 0;
    // One that is under way stops soon; it is not waited for.
    virtual void stop() = 0;
    virtual void let_begin() = 0;
    // Takes the conversation over, whose other side was told so. REQUIRES: not is_busy().
    virtual void talk(lower::Fd client) = 0;
};

// All of it outlives what is made.
using LiveRotationMaker = std::function<std::unique_ptr<LiveRotation>(
    const VolumeOnDisk& disk, core::Filesystem& fs, Log& log)>;

// The request, and the answers to it.
constexpr const char* kRotateRequest = "rotate-keys";

}  // namespace extencfs::daemon
