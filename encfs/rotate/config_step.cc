// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/config_step.h"

#include "encfs/daemon/key_editor.h"
#include "encfs/volume/slots.h"

namespace extencfs::rotate {

using daemon::fail;
using daemon::FailureKind;
using daemon::Notices;
using daemon::Outcome;

Outcome<std::unique_ptr<volume::VolumeKeys>> keys_of(const daemon::UnlockedVolume& volume) {
    auto keys = volume::VolumeKeys::derive(volume.config, volume.volume_key.bytes());
    if (keys) return std::move(*keys);
    return fail(FailureKind::kDamage, "the volume's keys cannot be derived (", keys.error().detail,
                "); restore extencfs.conf from a backup of the volume");
}

Outcome<volume::BegunRotation> begun_config(const daemon::UnlockedVolume& volume,
                                            const volume::OpeningSecret& secret,
                                            const std::optional<MoreSlot>& more) {
    auto begun =
        volume::begin_rotation(volume.config, volume.volume_key.bytes(), volume.slot, secret.bytes);
    if (!begun) return std::unexpected(daemon::slot_failure(begun.error()));
    if (more) {
        const auto added = volume::add_slot(begun->config, begun->volume_key.bytes(), more->slot,
                                            more->secret.bytes());
        if (!added) return std::unexpected(daemon::slot_failure(added.error()));
    }
    return std::move(*begun);
}

Outcome<Notices> put_config(const daemon::VolumeOnDisk& disk, daemon::UnlockedVolume& volume,
                            const volume::Config& changed, const crypto::Key256& volume_key,
                            const std::optional<volume::OpeningSecret>& check,
                            const Around& around) {
    std::string text = volume::serialize_config(changed, volume_key.bytes());
    // What is about to be the only way in is tried as the next run will.
    auto read_back = volume::parse_config(text);
    const bool same = read_back &&
                      volume::serialize_config(*read_back, volume_key.bytes()) == text &&
                      (!check || volume::open_slot(*read_back, *check).has_value());
    if (!same) {
        return fail(FailureKind::kOther,
                    "the new configuration does not open; nothing was changed, please report it");
    }
    Outcome<Notices> notices;
    const auto write = [&] { notices = daemon::change_config(disk, text); };
    if (around) {
        around(write);
    } else {
        write();
    }
    if (!notices && !disk.has_text(volume::kConfigName, text)) return notices;
    volume.config = std::move(*read_back);
    volume.text = std::move(text);
    return notices;
}

}  // namespace extencfs::rotate
