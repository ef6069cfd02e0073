// SPDX-License-Identifier: Apache-2.0
// An exported configuration on its way back into its volume: that it belongs there, that a secret
// opens it, and that nothing is lost which it does not replace.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "encfs/daemon/config_change.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"

namespace extencfs::daemon {

// THREADS: one at a time.
class HeaderImport {
  public:
    // Reads `text` (from `name`, for messages), looks at what is in the volume, and takes its lock
    // if there is a configuration. ERRORS: kDamage (`text` is no configuration), kUnsupported
    // (that, or a present one, is of a newer version), kConfigRead (a present one may not be read),
    // kKeySlot (every present one is of another volume), kCipherDir (no directory, or none that
    // ever was a volume), kMigrating, kLocked.
    static Outcome<HeaderImport> prepare(lower::LowerFs& fs, const std::string& path,
                                         std::string name, std::string text);
    // Removes extencfs.state again where this made it, in what has not become a volume.
    ~HeaderImport();
    HeaderImport(HeaderImport&&) = default;
    HeaderImport& operator=(HeaderImport&&) = delete;

    // Opens `text` with `secret`, takes the lock now at the latest, and puts it in place. What
    // could not be read before, or is of another volume, is kept as extencfs.conf.old.*. Returns
    // what is to be told. ERRORS: kWrongPassword, kKeyDerivation, kKeySlot (older than the volume's
    // keys, or of another volume), kDamage, kUnsupported, kConfigRead, kConfigWrite, kLocked.
    Outcome<Notices> finish(const volume::OpeningSecret& secret);

  private:
    // What lies under the two names and can be read, of whatever volume.
    using Copies = std::vector<ConfigCopy>;

    HeaderImport(VolumeOnDisk disk, std::string name, ConfigCopy imported)
        : disk_(std::move(disk)), name_(std::move(name)), imported_(std::move(imported)) {}
    // Takes the lock, unless it is held. ERRORS: kLocked, kCipherDir.
    Outcome<void> hold();
    // Those of `present` that `volume_key` authenticates, where it may replace the others.
    // ERRORS: kKeySlot, kOther.
    Outcome<Copies> check_present(const Copies& present, BytesN<32> volume_key) const;
    // Whether names in the root, if there are any, are of these keys. ERRORS: kKeySlot, kOther.
    Outcome<void> check_names(BytesN<32> volume_key) const;
    // Whether nothing in the root tells of a rotation of keys that these are from before of.
    // ERRORS: kKeySlot, kOther.
    Outcome<void> check_no_rotation() const;
    // Renames copies that are not in `good`. ERRORS: kConfigWrite.
    Outcome<Notices> put_aside(const Copies& good, const Copies& present) const;

    // False once moved from.
    struct Flag {
        explicit Flag(bool on) : value(on) {}
        Flag(Flag&& other) noexcept : value(std::exchange(other.value, false)) {}
        bool value;
    };
    VolumeOnDisk disk_;
    Flag unfinished_{false};
    std::optional<WriterLock> lock_;
    std::string name_;
    ConfigCopy imported_;
};

}  // namespace extencfs::daemon
