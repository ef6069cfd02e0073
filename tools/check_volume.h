// SPDX-License-Identifier: Apache-2.0
// A volume of any format, opened to be checked, or mended, without a mount. Prints nothing.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "encfs/core/legacy_mend.h"
#include "encfs/core/volume_check.h"
#include "encfs/daemon/credential.h"
#include "encfs/daemon/failure.h"
#include "encfs/daemon/volume_source.h"

namespace extencfs::tools {

enum class CheckMode : bool { kLook, kRepair };

// THREADS: one.
class CheckedVolume {
  public:
    // `read_password`: asked once it is known that there is a volume. To repair, nobody else may
    // use the volume, and it must be one that can be repaired: EncFS's, on a file system that can
    // be written. ERRORS: those of a mount; kUnsupported, kCipherDir.
    static daemon::Outcome<std::unique_ptr<CheckedVolume>> open(
        const std::string& directory, const daemon::LegacyChoices& legacy, CheckMode mode,
        const std::function<daemon::Outcome<daemon::Credential>(const volume::Config*)>&
            read_password);

    bool is_encfs() const { return source_->is_encfs(); }
    // Somebody writes it while it is looked at.
    bool in_use() const { return in_use_; }
    // Contents have checksums, so that damage of them can be seen.
    bool has_checksums() const { return has_checksums_; }

    // Names of the journals that are to be finished or taken back.
    std::vector<std::string> pending() const;
    // Half renamed directories. `hints`: paths that a directory was to get. Nothing where a move
    // is pending.
    daemon::Outcome<std::vector<core::HalfRenamed>> half_renamed(
        const std::vector<std::string>& hints);
    // Everything, with `half` told as such. ERRORS: kOther (the root cannot be listed).
    daemon::Outcome<core::CheckCounts> check(
        const std::vector<core::HalfRenamed>& half,
        const std::function<void(const core::Finding&)>& found);

    // REQUIRES: opened to repair. ERRORS: kOther; running it again goes on.
    daemon::Outcome<void> finish_pending();
    daemon::Outcome<void> mend(const core::HalfRenamed& directory);

  private:
    CheckedVolume() = default;
    daemon::Outcome<void> may_repair(const std::string& directory) const;

    std::unique_ptr<lower::LowerFs> lower_;
    std::unique_ptr<daemon::VolumeSource> source_;
    core::DamageNotes notes_;
    std::unique_ptr<core::VolumeFormat> format_;
    std::unique_ptr<core::LegacyMend> mend_;  // of EncFS volumes
    bool has_checksums_ = true;
    bool in_use_ = false;
    bool repair_ = false;
};

}  // namespace extencfs::tools
