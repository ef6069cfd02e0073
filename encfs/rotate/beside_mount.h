// SPDX-License-Identifier: Apache-2.0
// The rotation of a volume that is mounted (ADR 0014): its configurations, and what its file system
// is given to seal names and attributes with. Knows nothing of who asked for it.
#pragma once

#include <memory>
#include <optional>

#include "encfs/core/online_rotation.h"
#include "encfs/daemon/config_change.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/rotate/journal.h"
#include "encfs/rotate/rotation.h"

namespace extencfs::rotate {

// THREADS: one at a time; the counts of `run` any.
class BesideMount {
  public:
    // Of a volume that `fs` serves for writing, whose writer lock the mount holds. Both outlive
    // this.
    BesideMount(const daemon::VolumeOnDisk& disk, core::Filesystem& fs)
        : disk_(disk), rotation_(fs) {}

    // Reads the configuration that lies there now, and opens it. Returns the slot.
    // ERRORS: those of VolumeOnDisk::read_config() and unlock(); kUnsupported (this mount cannot).
    daemon::Outcome<std::uint32_t> unlock(const volume::OpeningSecret& secret);
    // REQUIRES: unlock().
    const volume::Config& config() const { return unlocked_->config; }
    const daemon::Notices& notices() const { return unlocked_->notices; }
    // Whether a run of this mount was cut short.
    bool was_begun() const;

    // Looks at everything; changes nothing. REQUIRES: unlock(), not was_begun(). ERRORS: kOther.
    daemon::Outcome<Amount> survey(core::RotationRun& run);
    // Puts the new volume key in force, below and in the mount. REQUIRES: as survey().
    // ERRORS: kKeySlot, kKeyDerivation, kConfigWrite, kDamage.
    daemon::Outcome<daemon::Notices> begin(const volume::OpeningSecret& secret,
                                           const std::optional<MoreSlot>& more);
    // Instead, if was_begun(). ERRORS: kDamage.
    daemon::Outcome<void> resume();
    // Seals everything anew, and ends the rotation, below and in the mount. ERRORS: kOther,
    // kDamage, kConfigWrite: run it again; kDaemonDied (the volume is being unmounted).
    daemon::Outcome<daemon::Notices> run(core::RotationRun& run);

    // Whether the configuration below has two volume keys: only a rotation opens it then.
    bool is_half_way() const { return unlocked_ && was_begun(); }
    // Whether no run in this mount can go on with it.
    bool is_for_others() const { return rotation_.has_lost_writes(); }

  private:
    daemon::Outcome<void> give_keys();

    const daemon::VolumeOnDisk& disk_;
    core::OnlineRotation rotation_;
    std::optional<daemon::UnlockedVolume> unlocked_;
};

}  // namespace extencfs::rotate
