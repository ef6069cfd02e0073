// SPDX-License-Identifier: Apache-2.0
// The configurations of a rotation on the disk: put in force, whoever rotates.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "encfs/daemon/config_change.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/rotate/rotation.h"
#include "encfs/volume/rotation.h"
#include "encfs/volume/volume_keys.h"

namespace extencfs::rotate {

// ERRORS: kDamage.
daemon::Outcome<std::unique_ptr<volume::VolumeKeys>> keys_of(const daemon::UnlockedVolume& volume);

// Of a volume that `secret` opened: the first configuration of a rotation, with one more slot if
// there is to be one. ERRORS: kKeySlot, kKeyDerivation.
daemon::Outcome<volume::BegunRotation> begun_config(const daemon::UnlockedVolume& volume,
                                                    const volume::OpeningSecret& secret,
                                                    const std::optional<MoreSlot>& more);

// Runs what it is given, with whatever is to be done before and after.
using Around = std::function<void(const std::function<void()>&)>;

// Puts `changed` in place of both copies and of what `volume` says; `check` opens it, or was not
// given. The files are written within `around`. REQUIRES: the writer lock. ERRORS: kConfigWrite
// (`volume` says which one is in force), kOther.
daemon::Outcome<daemon::Notices> put_config(const daemon::VolumeOnDisk& disk,
                                            daemon::UnlockedVolume& volume,
                                            const volume::Config& changed,
                                            const crypto::Key256& volume_key,
                                            const std::optional<volume::OpeningSecret>& check,
                                            const Around& around = {});

}  // namespace extencfs::rotate
