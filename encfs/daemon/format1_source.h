// SPDX-License-Identifier: Apache-2.0
// A volume of format 1 on its way to being mounted.
#pragma once

#include <optional>

#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_source.h"
#include "encfs/daemon/volume_state.h"

namespace extencfs::daemon {

class Format1Source final : public VolumeSource {
  public:
    static Outcome<std::unique_ptr<VolumeSource>> open(VolumeOnDisk disk);

    int root_fd() const override { return disk_.root_fd(); }
    ByteVector identity() const override {
        const auto& id = copies_.usable.front().config.volume_id;
        return {id.begin(), id.end()};
    }
    Outcome<void> reserve(bool read_only, bool& shared) override;
    Outcome<void> unlock(const volume::OpeningSecret& secret) override;
    const volume::Config* config() const override { return &copies_.usable.front().config; }
    std::optional<OpenedBy> opened_by() const override;
    const VolumeOnDisk* rotatable() const override { return &disk_; }
    void mend(Log& log) override;
    bool was_clean() const override { return was_clean_; }
    Outcome<void> begin_writing() override;
    Outcome<core::FormatMaker> format() override;
    Outcome<void> end_clean() override;

  private:
    Format1Source(VolumeOnDisk disk, ConfigCopies copies)
        : disk_(std::move(disk)), copies_(std::move(copies)) {}

    VolumeOnDisk disk_;
    ConfigCopies copies_;
    std::optional<WriterLock> lock_;  // none for a read-only mount
    std::optional<UnlockedVolume> unlocked_;
    bool was_clean_ = false;
};

}  // namespace extencfs::daemon
