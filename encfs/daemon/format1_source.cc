// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/format1_source.h"

#include "encfs/core/format1.h"
#include "encfs/daemon/log.h"

namespace extencfs::daemon {

Outcome<std::unique_ptr<VolumeSource>> Format1Source::open(VolumeOnDisk disk) {
    auto copies = disk.read_config();
    if (!copies) return std::unexpected(copies.error());
    auto whole = refuse_rotation(copies->usable.front().config, disk.path());
    if (!whole) return std::unexpected(whole.error());
    if (auto fit = disk.check_names_survive(copies->usable.front().config); !fit) {
        return std::unexpected(fit.error());
    }
    return std::unique_ptr<VolumeSource>(new Format1Source(std::move(disk), std::move(*copies)));
}

Outcome<void> Format1Source::reserve(bool read_only, bool& shared) {
    if (read_only) {
        const auto state = view_state(disk_.fs(), disk_.root_fd());
        if (!state) return std::unexpected(state.error());
        was_clean_ = state->clean;
        // A writer beside us changes files behind our back.
        if (state->writer_present) shared = true;
        return {};
    }
    auto lock = WriterLock::acquire(disk_.fs(), disk_.root_fd());
    if (!lock) return std::unexpected(lock.error());
    // Again: keys may have been changed before the lock was had, and a mount writes again what it
    // read (mend()).
    auto copies = disk_.read_config();
    if (!copies) return std::unexpected(copies.error());
    copies_ = std::move(*copies);
    was_clean_ = lock->was_clean();
    lock_ = std::move(*lock);
    return {};
}

Outcome<void> Format1Source::unlock(const volume::OpeningSecret& secret) {
    auto unlocked = VolumeOnDisk::unlock(copies_, secret);
    if (!unlocked) return std::unexpected(unlocked.error());
    unlocked_ = std::move(*unlocked);
    return {};
}

std::optional<OpenedBy> Format1Source::opened_by() const {
    if (!unlocked_) return std::nullopt;
    return OpenedBy{unlocked_->config.volume_id, unlocked_->config.revision, unlocked_->slot,
                    unlocked_->box_key.bytes()};
}

void Format1Source::mend(Log& log) {
    for (const std::string& notice : unlocked_->notices) {
        log.write(LogLevel::kWarning, "config", "{}", notice);
    }
    if (!lock_) return;
    const auto rewritten = disk_.repair_config(unlocked_->text);
    if (!rewritten) {
        log.write(LogLevel::kWarning, "config", "{}", rewritten.error().sentence);
    } else {
        for (const std::string& name : *rewritten) {
            log.write(LogLevel::kNotice, "config", "{} was written again from the good copy", name);
        }
    }
    // A rotation of keys that ended, but for this.
    for (const char* name : {volume::kRotationName, volume::kRotationNewName}) {
        (void)disk_.fs().unlink(disk_.root_fd(), name);
    }
    if (!lock_->is_enforced()) {
        log.write(LogLevel::kWarning, "lock",
                  "the file system below has no locks: do not mount this volume twice");
    }
}

Outcome<void> Format1Source::begin_writing() {
    return lock_ ? lock_->begin_writing() : Outcome<void>{};
}

Outcome<core::FormatMaker> Format1Source::format() {
    auto keys = volume::VolumeKeys::derive(unlocked_->config, unlocked_->volume_key.bytes());
    // Nothing that the mount does needs the volume key again, and it may last for months.
    unlocked_.reset();
    if (!keys) {
        return fail(FailureKind::kDamage, "the volume's keys cannot be derived (",
                    keys.error().detail, "); restore extencfs.conf from a backup of the volume");
    }
    return core::format1(std::move(*keys));
}

Outcome<void> Format1Source::end_clean() {
    return lock_ ? lock_->end_clean() : Outcome<void>{};
}

}  // namespace extencfs::daemon
