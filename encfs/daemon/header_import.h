// SPDX-License-Identifier: Apache-2.0
// An exported configuration on its way back into its volume: that it belongs there, that a secret
// opens it, and that nothing is lost which could not be read.
#pragma once

#include <optional>
#include <string>

#include "encfs/daemon/config_change.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"

namespace extencfs::daemon {

// THREADS: one at a time.
class HeaderImport {
  public:
    // Reads `text` (from `name`, for messages), looks at what is in the volume, and takes its lock.
    // ERRORS: kDamage (`text` is no configuration), kUnsupported (that, or the present one is of a
    // newer version), kKeySlot (it is of another volume), kCipherDir, kLocked.
    static Outcome<HeaderImport> prepare(lower::LowerFs& fs, const std::string& path,
                                         std::string name, std::string text);

    // Opens `text` with `secret` and puts it in place. What could not be read before is kept as
    // extencfs.conf.old.*. Returns what is to be told. ERRORS: kWrongPassword, kKeyDerivation,
    // kKeySlot (older than the volume's keys, or of another volume), kDamage, kConfigWrite.
    Outcome<Notices> finish(const volume::OpeningSecret& secret);

  private:
    HeaderImport(VolumeOnDisk disk, WriterLock lock, std::string name, ConfigCopy imported)
        : disk_(std::move(disk)),
          lock_(std::move(lock)),
          name_(std::move(name)),
          imported_(std::move(imported)) {}
    // Whether names in the root, if there are any, are of these keys. ERRORS: kKeySlot, kOther.
    Outcome<void> check_names(BytesN<32> volume_key) const;
    // Renames copies that are not in `good`. ERRORS: kConfigWrite.
    Outcome<Notices> put_aside(const std::vector<ConfigCopy>& good) const;

    VolumeOnDisk disk_;
    WriterLock lock_;
    std::string name_;
    ConfigCopy imported_;
};

}  // namespace extencfs::daemon
