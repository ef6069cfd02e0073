// SPDX-License-Identifier: Apache-2.0
// An EncFS volume on its way to being mounted.
#pragma once

#include <optional>

#include "encfs/daemon/legacy_on_disk.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_source.h"

namespace extencfs::daemon {

class LegacySource final : public VolumeSource {
  public:
    // ERRORS: kUnsupported (it lacks what the choices demand).
    static Outcome<std::unique_ptr<VolumeSource>> open(VolumeOnDisk disk, LegacyConfig config,
                                                       const LegacyChoices& choices);

    LegacySource(VolumeOnDisk disk, LegacyConfig config, LegacyChoices choices)
        : disk_(std::move(disk)), config_(std::move(config)), choices_(std::move(choices)) {}

    int root_fd() const override { return disk_.root_fd(); }
    bool is_encfs() const override { return true; }
    const core::LegacyVolume* encfs() const override { return volume_ ? &*volume_ : nullptr; }
    std::string why_read_only() const override;
    // The kept key: another password makes it another volume.
    ByteVector identity() const override { return config_.config.wrapped_key; }
    Outcome<void> reserve(bool read_only, bool& shared) override;
    Outcome<void> unlock(Bytes password) override;
    void mend(Log& log) override;
    // What is lost when a writer is killed does not show, and needs no look at every file.
    bool was_clean() const override { return true; }
    Outcome<void> begin_writing() override { return {}; }
    Outcome<core::FormatMaker> format() override;
    Outcome<void> end_clean() override { return {}; }

  private:
    void count_names(Log& log);

    VolumeOnDisk disk_;
    LegacyConfig config_;
    LegacyChoices choices_;
    std::optional<core::LegacyVolume> volume_;
    bool lock_enforced_ = true;
    bool read_only_ = false;
};

}  // namespace extencfs::daemon
