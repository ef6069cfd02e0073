// SPDX-License-Identifier: Apache-2.0
// A rotation of a volume's keys, from its configuration to its last file: held by the writer lock,
// begun or gone on with, and ended (FORMAT.md "Rotation of keys"). Knows nothing of who types what.
#pragma once

#include <memory>
#include <optional>

#include "encfs/daemon/config_change.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"
#include "encfs/rotate/survey.h"
#include "encfs/volume/slots.h"

namespace extencfs::rotate {

// A key slot that the new volume key gets besides the one that opened.
struct MoreSlot {
    volume::NewSlot slot;
    crypto::SecretBytes secret;
};

// THREADS: one at a time.
class Rotation {
  public:
    // Finds the volume, takes its lock, and reads its configuration. `fs` outlives this.
    // ERRORS: kCipherDir, kLocked, kConfigRead, kDamage, kUnsupported.
    static daemon::Outcome<Rotation> open(lower::LowerFs& fs, const std::string& path);

    // As the best readable copy says, not authenticated before unlock().
    const volume::Config& config() const;
    const daemon::Notices& notices() const;
    // Whether one was begun already and is to be gone on with.
    bool was_begun() const;

    // Returns the slot that opened. ERRORS: those of VolumeOnDisk::unlock().
    daemon::Outcome<std::uint32_t> unlock(const volume::OpeningSecret& secret);

    // Looks at everything; changes nothing. REQUIRES: unlock(). ERRORS: those of survey().
    daemon::Outcome<Amount> survey(Damages& damages, Progress& progress);
    // Puts the new volume key in force: from here on only a rotation can open the volume, with
    // `secret`, which unlock() was given, or with that of `more`. REQUIRES: survey(), not
    // was_begun(). ERRORS: kKeySlot, kKeyDerivation, kConfigWrite, kOther.
    daemon::Outcome<daemon::Notices> begin(const volume::OpeningSecret& secret,
                                           const std::optional<MoreSlot>& more);
    // What an earlier run left to do. REQUIRES: was_begun(), unlock(). ERRORS: those of survey().
    daemon::Outcome<Amount> resume(Damages& damages, Progress& progress);
    // Seals everything anew, and ends the rotation. What opens under no key stays as it is and is
    // told to `damages`. REQUIRES: begin() or resume(). ERRORS: kOther, kConfigWrite: run it again.
    daemon::Outcome<daemon::Notices> run(unsigned jobs, Damages& damages, Progress& progress);

  private:
    Rotation(daemon::VolumeOnDisk disk, daemon::WriterLock lock, daemon::ConfigCopies copies)
        : disk_(std::move(disk)), lock_(std::move(lock)), copies_(std::move(copies)) {}
    // REQUIRES: survey(). Returns what the root had before anything of a rotation was done.
    Before keep_root_times();
    daemon::Outcome<daemon::Notices> end(bool reached_all);

    daemon::VolumeOnDisk disk_;
    daemon::WriterLock lock_;
    daemon::ConfigCopies copies_;
    std::optional<daemon::UnlockedVolume> unlocked_;
    std::optional<Survey> survey_;
    std::optional<Journal> journal_;
    bool is_resumed_ = false;
};

}  // namespace extencfs::rotate
