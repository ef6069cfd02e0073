// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/rotation.h"

#include "encfs/daemon/key_editor.h"
#include "encfs/rotate/config_step.h"
#include "encfs/rotate/passes.h"
#include "encfs/volume/rotation.h"

namespace extencfs::rotate {

using daemon::fail;
using daemon::FailureKind;
using daemon::Notices;
using daemon::Outcome;

Outcome<Rotation> Rotation::open(lower::LowerFs& fs, const std::string& path) {
    auto disk = daemon::VolumeOnDisk::open(fs, path);
    if (!disk) return std::unexpected(disk.error());
    // Before the lock, which would leave a file in a directory that is no volume.
    if (const auto there = disk->read_config(); !there) return std::unexpected(there.error());
    auto lock = daemon::lock_for_keys(*disk);
    if (!lock) return std::unexpected(lock.error());
    auto copies = disk->read_config();
    if (!copies) return std::unexpected(copies.error());
    return Rotation(std::move(*disk), std::move(*lock), std::move(*copies));
}

const volume::Config& Rotation::config() const {
    return unlocked_ ? unlocked_->config : copies_.usable.front().config;
}

const Notices& Rotation::notices() const {
    return unlocked_ ? unlocked_->notices : copies_.notices;
}

bool Rotation::was_begun() const {
    return volume::is_rotating(config());
}

Outcome<std::uint32_t> Rotation::unlock(const volume::OpeningSecret& secret) {
    auto unlocked = daemon::VolumeOnDisk::unlock(copies_, secret, daemon::InRotation::kAllowed);
    if (!unlocked) return std::unexpected(unlocked.error());
    unlocked_ = std::move(*unlocked);
    return unlocked_->slot;
}

Outcome<Amount> Rotation::survey(Damages& damages, Progress& progress) {
    const auto derived = keys_of(*unlocked_);
    if (!derived) return std::unexpected(derived.error());
    const Tools tools{disk_.fs(), disk_.root_fd(), **derived};
    auto surveyed = rotate::survey(tools, damages, progress);
    if (!surveyed) return std::unexpected(surveyed.error());
    survey_ = std::move(*surveyed);
    return survey_->amount;
}

Before Rotation::keep_root_times() {
    Before& root = survey_->records.front();  // a survey begins with it
    // A rotation that was cut short before its first or after its last step had changed them.
    const auto left = Journal::read(disk_.fs(), disk_.root_fd());
    if (const Before* before = left && *left ? (*left)->find(root.ino) : nullptr) root = *before;
    return root;
}

Outcome<Notices> Rotation::begin(const volume::OpeningSecret& secret,
                                 const std::optional<MoreSlot>& more) {
    auto begun = begun_config(*unlocked_, secret, more);
    if (!begun) return std::unexpected(begun.error());
    if (auto marked = lock_.begin_writing(); !marked) return std::unexpected(marked.error());
    const Before root_before = keep_root_times();
    auto journal =
        Journal::make(disk_.fs(), disk_.root_fd(), std::move(survey_->records), survey_->amount);
    survey_.reset();
    if (!journal) {
        // Nothing was changed then, nor are the root's times to be.
        (void)restore(disk_.fs(), disk_.root_fd(), root_before);
        return cannot("extencfs.rotation", "written", journal.error());
    }
    journal_ = std::move(*journal);
    const volume::OpeningSecret same(secret.kind, secret.bytes, unlocked_->slot);
    auto written = put_config(disk_, *unlocked_, begun->config, begun->volume_key, same);
    if (!written) return written;
    unlocked_->volume_key = std::move(begun->volume_key);
    return written;
}

Outcome<Amount> Rotation::resume(Damages& damages, Progress& progress) {
    is_resumed_ = true;
    if (auto marked = lock_.begin_writing(); !marked) return std::unexpected(marked.error());
    if (auto mended = disk_.repair_config(unlocked_->text); !mended) {
        return std::unexpected(mended.error());
    }
    auto journal = Journal::read(disk_.fs(), disk_.root_fd());
    if (!journal) return cannot("extencfs.rotation", "read", journal.error());
    if (!*journal) {
        // The volume was copied meanwhile: what the times are now is the best that is known.
        const auto amount = survey(damages, progress);
        if (!amount) return amount;
        auto made = Journal::make(disk_.fs(), disk_.root_fd(), std::move(survey_->records),
                                  survey_->amount);
        survey_.reset();
        if (!made) return cannot("extencfs.rotation", "written", made.error());
        *journal = std::move(*made);
    }
    journal_ = std::move(**journal);
    return journal_->amount();
}

Outcome<Notices> Rotation::run(unsigned jobs, Damages& damages, Progress& progress) {
    const auto derived = keys_of(*unlocked_);
    if (!derived) return std::unexpected(derived.error());
    const Tools tools{disk_.fs(), disk_.root_fd(), **derived, is_resumed_};
    Passes passes(tools, *journal_, jobs, damages, progress);
    if (auto done = passes.run(); !done) return std::unexpected(done.error());
    return end(passes.reached_all());
}

Outcome<Notices> Rotation::end(bool reached_all) {
    const auto ended = volume::end_rotation(unlocked_->config);
    if (!ended) return std::unexpected(daemon::slot_failure(ended.error()));
    auto notices = put_config(disk_, *unlocked_, *ended, unlocked_->volume_key, std::nullopt);
    if (!notices && volume::is_rotating(config())) return notices;
    // The rotation is over; what fails from here on is mended by the next mount.
    (void)Journal::remove(disk_.fs(), disk_.root_fd());
    const auto root = disk_.fs().stat(disk_.root_fd());
    if (const Before* before = root ? journal_->find(root->st_ino) : nullptr) {
        (void)restore(disk_.fs(), disk_.root_fd(), *before);
    }
    // What a mount that was killed left beyond the ends of files is for the next mount to look at.
    const bool in_order = reached_all && lock_.was_clean();
    if (in_order && disk_.fs().syncfs(disk_.root_fd())) {
        if (auto marked = lock_.end_clean(); !marked) return std::unexpected(marked.error());
    }
    return notices;
}

}  // namespace extencfs::rotate
