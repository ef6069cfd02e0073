// SPDX-License-Identifier: Apache-2.0
// The key slots of a volume on the disk: held, unlocked, changed. Owns the writer lock while it
// lives, so that neither a mount nor another change is under way; knows nothing of the files in the
// tree, nor of who types what.
#pragma once

#include <optional>

#include "encfs/daemon/config_change.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"
#include "encfs/volume/slots.h"

namespace extencfs::daemon {

// What came of a change.
struct ChangedSlot {
    std::uint32_t slot;
    Notices notices;
};

// The volume's lock for a command that changes its keys. ERRORS: kLocked, kCipherDir.
Outcome<WriterLock> lock_for_keys(const VolumeOnDisk& disk);

// The failure that an error of a change to slots is.
Failure slot_failure(const volume::Error& error);

// THREADS: one at a time.
class KeyEditor {
  public:
    // Finds the volume, takes its lock, and reads its configuration.
    // ERRORS: kCipherDir, kLocked, kConfigRead, kDamage, kUnsupported.
    static Outcome<KeyEditor> open(lower::LowerFs& fs, const std::string& path);

    // As the best readable copy says, not authenticated before unlock().
    const volume::Config& config() const;
    // What is to be told of the copies.
    const Notices& notices() const;

    // Returns the slot that opened. ERRORS: those of VolumeOnDisk::unlock().
    Outcome<std::uint32_t> unlock(const volume::OpeningSecret& secret);

    // Each REQUIRES unlock(), writes both copies, and gives the new state by config(). The new slot
    // has been opened once before anything is written. ERRORS: kKeySlot (no such slot, no room for
    // another), kKeyDerivation, kConfigWrite (which says whether the change is in force), kOther.
    // Changing and removing also tell of configurations that were put aside.
    Outcome<ChangedSlot> add(const volume::NewSlot& slot, Bytes secret);
    Outcome<ChangedSlot> change(std::uint32_t id, const crypto::Argon2Cost& cost, Bytes secret);
    // Whether this is the last slot that opens is for the caller to ask.
    Outcome<ChangedSlot> remove(std::uint32_t id);

  private:
    KeyEditor(VolumeOnDisk disk, WriterLock lock, ConfigCopies copies)
        : disk_(std::move(disk)), lock_(std::move(lock)), copies_(std::move(copies)) {}
    // Writes `changed`, which `check` opens.
    Outcome<ChangedSlot> write(volume::Config changed, std::uint32_t id,
                               const std::optional<volume::OpeningSecret>& check);
    // The same where something ends to be a key: tells where it may still be one.
    Outcome<ChangedSlot> write_ending(volume::Config changed, std::uint32_t id,
                                      const std::optional<volume::OpeningSecret>& check);

    VolumeOnDisk disk_;
    WriterLock lock_;
    ConfigCopies copies_;
    std::optional<UnlockedVolume> unlocked_;
};

}  // namespace extencfs::daemon
