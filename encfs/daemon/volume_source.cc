// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/volume_source.h"

#include "encfs/daemon/format1_source.h"
#include "encfs/daemon/legacy_source.h"
#include "encfs/volume/format.h"

namespace extencfs::daemon {

Outcome<void> VolumeSource::unlock_by_key(Bytes) {
    return fail(FailureKind::kUnsupported, "this volume is no EncFS volume; open it by a password");
}

Outcome<ByteVector> VolumeSource::key_mark() const {
    return identity();
}

Outcome<std::unique_ptr<VolumeSource>> open_volume(lower::LowerFs& fs, const std::string& path,
                                                   const LegacyChoices& legacy) {
    auto disk = VolumeOnDisk::open(fs, path);
    if (!disk) return std::unexpected(disk.error());
    if (!legacy.migrating) {
        if (auto whole = disk->check_not_migrating(); !whole) return std::unexpected(whole.error());
    }
    const bool format1 = legacy.config_file.empty() && !legacy.reverse &&
                         (fs.stat_at(disk->root_fd(), volume::kConfigName) ||
                          fs.stat_at(disk->root_fd(), volume::kConfigBackupName));
    if (!format1) {
        auto config = read_legacy_config(fs, disk->root_fd(), legacy.config_file);
        if (!config) return std::unexpected(config.error());
        if (*config) return LegacySource::open(std::move(*disk), std::move(**config), legacy);
        if (legacy.reverse) {
            return fail(FailureKind::kCipherDir, path,
                        " holds no settings for a reverse view (.encfs6.xml); make them with "
                        "'encfs --reverse'");
        }
    }
    return Format1Source::open(std::move(*disk));
}

}  // namespace extencfs::daemon
