// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/key_editor.h"

#include "encfs/daemon/legacy_on_disk.h"
#include "encfs/volume/format.h"

namespace extencfs::daemon {
namespace {

bool has_config(const VolumeOnDisk& disk) {
    return disk.fs().stat_at(disk.root_fd(), volume::kConfigName) ||
           disk.fs().stat_at(disk.root_fd(), volume::kConfigBackupName);
}

}  // namespace

Outcome<WriterLock> lock_for_keys(const VolumeOnDisk& disk) {
    auto lock = WriterLock::acquire(disk.fs(), disk.root_fd());
    if (!lock && lock.error().kind == FailureKind::kLocked) {
        return fail(FailureKind::kLocked, disk.path(),
                    " is mounted for writing, or another command changes its keys; unmount it or "
                    "wait for that, and run the same again");
    }
    return lock;
}

Failure slot_failure(const volume::Error& error) {
    switch (error.kind) {
        case volume::ErrorKind::kBadParameter:
            return {FailureKind::kKeySlot, "this cannot be done to the volume's keys (" +
                                               error.detail + "); see 'extencfs key list'"};
        case volume::ErrorKind::kNoMemory:
            return {FailureKind::kKeyDerivation,
                    "there is not enough memory for this key derivation; choose a smaller one with "
                    "--kdf"};
        default:
            return {FailureKind::kOther, "the key slot cannot be made (" + error.detail +
                                             "); nothing was changed, try again"};
    }
}

Outcome<KeyEditor> KeyEditor::open(lower::LowerFs& fs, const std::string& path) {
    auto disk = VolumeOnDisk::open(fs, path);
    if (!disk) return std::unexpected(disk.error());
    if (!has_config(*disk)) {
        const auto encfs = read_legacy_config_in(fs, disk->root_fd());
        if (encfs && *encfs) {
            return fail(FailureKind::kCipherDir, path,
                        " is a volume of EncFS, which has one password and no key slots; "
                        "'extencfs passwd' changes it");
        }
    }
    // Before the lock, which would leave a file in a directory that is no volume.
    if (const auto there = disk->read_config(); !there) return std::unexpected(there.error());
    auto lock = lock_for_keys(*disk);
    if (!lock) return std::unexpected(lock.error());
    auto copies = disk->read_config();
    if (!copies) return std::unexpected(copies.error());
    auto whole = refuse_rotation(copies->usable.front().config, path);
    if (!whole) return std::unexpected(whole.error());
    return KeyEditor(std::move(*disk), std::move(*lock), std::move(*copies));
}

const volume::Config& KeyEditor::config() const {
    return unlocked_ ? unlocked_->config : copies_.usable.front().config;
}

const Notices& KeyEditor::notices() const {
    return unlocked_ ? unlocked_->notices : copies_.notices;
}

Outcome<std::uint32_t> KeyEditor::unlock(const volume::OpeningSecret& secret) {
    auto unlocked = VolumeOnDisk::unlock(copies_, secret);
    if (!unlocked) return std::unexpected(unlocked.error());
    unlocked_ = std::move(*unlocked);
    return unlocked_->slot;
}

Outcome<ChangedSlot> KeyEditor::write(volume::Config changed, std::uint32_t id,
                                      const std::optional<volume::OpeningSecret>& check) {
    const BytesN<32> volume_key = unlocked_->volume_key.bytes();
    std::string text = volume::serialize_config(changed, volume_key);
    // What is about to be the only way in is tried as the next mount will.
    auto read_back = volume::parse_config(text);
    const bool same = read_back && volume::serialize_config(*read_back, volume_key) == text &&
                      (!check || volume::open_slot(*read_back, *check).has_value());
    if (!same) {
        return fail(FailureKind::kOther,
                    "the new configuration does not open; nothing was changed, please report it");
    }
    auto notices = change_config(disk_, text);
    if (!notices) return std::unexpected(notices.error());
    unlocked_->config = std::move(*read_back);
    unlocked_->text = std::move(text);
    return ChangedSlot{id, std::move(*notices)};
}

Outcome<ChangedSlot> KeyEditor::write_ending(volume::Config changed, std::uint32_t id,
                                             const std::optional<volume::OpeningSecret>& check) {
    auto written = write(std::move(changed), id, check);
    if (!written) return written;
    const Notices aside = tell_put_aside(disk_, unlocked_->config.volume_id);
    written->notices.insert(written->notices.end(), aside.begin(), aside.end());
    return written;
}

Outcome<ChangedSlot> KeyEditor::add(const volume::NewSlot& slot, Bytes secret) {
    volume::Config changed = unlocked_->config;
    const auto id = volume::add_slot(changed, unlocked_->volume_key.bytes(), slot, secret);
    if (!id) return std::unexpected(slot_failure(id.error()));
    return write(std::move(changed), *id, volume::OpeningSecret(slot.kind, secret, *id));
}

Outcome<ChangedSlot> KeyEditor::change(std::uint32_t id, const crypto::Argon2Cost& cost,
                                       Bytes secret) {
    volume::Config changed = unlocked_->config;
    const auto done = volume::change_slot(changed, unlocked_->volume_key.bytes(), id, cost, secret);
    if (!done) return std::unexpected(slot_failure(done.error()));
    const volume::SlotKind kind = volume::find_slot(changed, id)->kind;
    return write_ending(std::move(changed), id, volume::OpeningSecret(kind, secret, id));
}

Outcome<ChangedSlot> KeyEditor::remove(std::uint32_t id) {
    volume::Config changed = unlocked_->config;
    if (const auto done = volume::remove_slot(changed, id); !done) {
        return std::unexpected(slot_failure(done.error()));
    }
    return write_ending(std::move(changed), id, std::nullopt);
}

}  // namespace extencfs::daemon
