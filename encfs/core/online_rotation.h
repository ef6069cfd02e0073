// SPDX-License-Identifier: Apache-2.0
// A rotation of the volume's keys beside all operations of its file system (ADR 0014).
#pragma once

#include <functional>
#include <memory>

#include "encfs/core/error.h"
#include "encfs/core/rotation.h"

namespace extencfs::volume {
class VolumeKeys;
}

namespace extencfs::core {

class Filesystem;

// THREADS: one at a time for a file system, whose operations go on. Holds nothing.
class OnlineRotation {
  public:
    // `fs` outlives this.
    explicit OnlineRotation(Filesystem& fs) : fs_(fs) {}

    // Whether this mount can have one: it writes, and its volume is of format 1.
    bool is_possible() const;
    // Looks at everything, by the present keys: what opens under none is told to `run`. Waits for
    // the scan after an unclean end. ERRORS: whatever would stop a rotation; `failed_at` says
    // where.
    Result<void> survey(RotationRun& run);
    // From now on a failure of the lower file system to write something is heard of; what was
    // written before is durable. Call before the first begin(). ERRORS: those of the sync.
    Result<void> watch_storage();
    // From now on everything is sealed under the last generation of `keys`, and the others are read
    // besides. REQUIRES: a configuration with them is in force below. Also after a run that failed.
    // `make` is called with nobody else at work. ERRORS: its own.
    using MakeResealing = std::function<lower::Result<std::shared_ptr<Resealing>>()>;
    Result<void> begin(std::shared_ptr<const volume::VolumeKeys> keys, const MakeResealing& make);
    // When it returns, all is of the last generation, and durable.
    // ERRORS: whatever stopped it (ECANCELED: `run.stop`); begin() and run again, unless
    // has_lost_writes().
    Result<void> run(RotationRun& run);
    // The lower file system could not write something, and what is cached hides it: no run in this
    // mount can end, a rotation of the unmounted volume can.
    bool has_lost_writes() const;
    // The last generation alone. REQUIRES: run(), and a configuration without the others.
    void end(std::shared_ptr<const volume::VolumeKeys> keys);
    // Runs `change`, which changes names in the root that are not the file system's, with nobody
    // else at work; the root's times stay.
    void change_root(const std::function<void()>& change);
    // From begin() until this is called, a while after the end: listings go by what was there when
    // they began. Those that are under way then cannot go on.
    void forget_listings();

  private:
    void tell_files();

    Filesystem& fs_;
};

}  // namespace extencfs::core
