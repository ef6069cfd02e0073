// SPDX-License-Identifier: Apache-2.0
// Makes a new volume in an empty directory.
#pragma once

#include <utility>

#include "crypto/bytes.h"
#include "encfs/daemon/failure.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"
#include "encfs/volume/config.h"

namespace extencfs::daemon {

// A directory that was found fit for a new volume, held by the writer lock from before the password
// prompt until the configuration is written. What an interrupted creation left is accepted and
// removed; lost+found is accepted.
class VolumeCreation {
  public:
    // Looks, locks, and probes which name encoding the lower file system keeps apart.
    // ERRORS: kCipherDir (not empty, a volume already, names too short), kLocked, kConfigWrite.
    static Outcome<VolumeCreation> prepare(const VolumeOnDisk& disk);
    // Removes extencfs.state again when nothing was made.
    ~VolumeCreation();
    VolumeCreation(VolumeCreation&&) = default;
    VolumeCreation& operator=(VolumeCreation&&) = delete;

    volume::NameEncoding name_encoding() const { return name_encoding_; }

    // Runs Argon2 and writes both copies of the configuration and the state. `choice`'s name
    // encoding is replaced by the probed one. Returns the configuration, and the key of its slot's
    // box if that is asked for.
    // ERRORS: kConfigWrite, kKeyDerivation, kCipherDir.
    Outcome<volume::Config> finish(volume::NewVolume choice, Bytes password,
                                   crypto::Key256* box_key = nullptr);

  private:
    VolumeCreation(const VolumeOnDisk& disk, WriterLock lock)
        : disk_(&disk), unfinished_(true), lock_(std::move(lock)) {}

    // False once moved from.
    struct Flag {
        explicit Flag(bool on) : value(on) {}
        Flag(Flag&& other) noexcept : value(std::exchange(other.value, false)) {}
        bool value;
    };
    const VolumeOnDisk* disk_;  // not owned
    Flag unfinished_;
    WriterLock lock_;
    volume::NameEncoding name_encoding_ = volume::NameEncoding::kBase64Url;
};

}  // namespace extencfs::daemon
