// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/header_import.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include "crypto/encoding.h"
#include "crypto/random.h"
#include "encfs/daemon/key_editor.h"
#include "encfs/volume/format.h"
#include "encfs/volume/volume_keys.h"

namespace extencfs::daemon {
namespace {

constexpr const char* kOldPrefix = "extencfs.conf.old.";

// What can be read there; nothing where that is why something is to be brought back.
Outcome<std::vector<ConfigCopy>> present_copies(const VolumeOnDisk& disk) {
    auto copies = disk.read_config();
    if (copies) return std::move(copies->usable);
    if (copies.error().kind == FailureKind::kUnsupported) return std::unexpected(copies.error());
    return std::vector<ConfigCopy>{};
}

std::unexpected<Failure> of_another_volume(const std::string& name, const std::string& path) {
    return fail(FailureKind::kKeySlot, name, " does not belong to ", path,
                "; give the one that was exported from it");
}

}  // namespace

Outcome<HeaderImport> HeaderImport::prepare(lower::LowerFs& fs, const std::string& path,
                                            std::string name, std::string text) {
    auto config = volume::parse_config(text);
    if (!config) {
        const bool newer = config.error().kind == volume::ErrorKind::kUnsupported;
        return fail(newer ? FailureKind::kUnsupported : FailureKind::kDamage, name,
                    newer ? " needs something that this version does not know ("
                          : " is no whole configuration (",
                    config.error().detail, newer ? "); use a newer extencfs" : "); give another");
    }
    auto disk = VolumeOnDisk::open(fs, path);
    if (!disk) return std::unexpected(disk.error());
    const auto present = present_copies(*disk);
    if (!present) return std::unexpected(present.error());
    for (const ConfigCopy& copy : *present) {
        if (copy.config.volume_id != config->volume_id) return of_another_volume(name, path);
    }
    auto lock = lock_for_keys(*disk);
    if (!lock) return std::unexpected(lock.error());
    return HeaderImport(std::move(*disk), std::move(*lock), std::move(name),
                        {volume::kConfigName, std::move(text), std::move(*config)});
}

Outcome<void> HeaderImport::check_names(BytesN<32> volume_key) const {
    const auto keys = volume::VolumeKeys::derive(imported_.config, volume_key);
    if (!keys) {
        return fail(FailureKind::kDamage, name_, " holds keys that do not open (",
                    keys.error().detail, "); give another");
    }
    bool any = false;
    bool ours = false;
    const auto listed = disk_.fs().list(disk_.root_fd(), [&](const lower::DirEntry& entry) {
        if (entry.name.starts_with(volume::kReservedPrefix) || entry.name == "lost+found") {
            return true;
        }
        any = true;
        for (const auto& generation : imported_.config.generations) {
            const auto* codecs = (*keys)->generation(generation.number);
            ours = ours || codecs->names.decode(imported_.config.root_id, entry.name).has_value();
        }
        return !ours;
    });
    if (!listed) {
        return fail(FailureKind::kOther, disk_.path(), " cannot be listed (",
                    errno_text(listed.error().value), "); check its permissions");
    }
    if (any && !ours) return of_another_volume(name_, disk_.path());
    return {};
}

Outcome<Notices> HeaderImport::put_aside(const std::vector<ConfigCopy>& good) const {
    Notices notices;
    for (const char* name : {volume::kConfigName, volume::kConfigBackupName}) {
        const auto is_it = [&](const ConfigCopy& copy) { return copy.name == name; };
        if (std::ranges::any_of(good, is_it)) continue;
        std::array<std::byte, 8> random{};
        if (!crypto::fill_random(random)) {
            return fail(FailureKind::kOther, "the kernel gives no random bytes; try again");
        }
        const std::string aside = kOldPrefix + crypto::hex_encode(random);
        const auto moved = disk_.fs().rename(disk_.root_fd(), name, disk_.root_fd(), aside,
                                             lower::RenameMode::kReplace);
        if (!moved && moved.error().value == ENOENT) continue;
        if (!moved) {
            return fail(FailureKind::kConfigWrite, name, ", which cannot be read, cannot be kept (",
                        errno_text(moved.error().value), "); check the permissions of ",
                        disk_.path());
        }
        notices.push_back(std::string(name) + " could not be read and is kept as " + aside);
    }
    return notices;
}

Outcome<Notices> HeaderImport::finish(const volume::OpeningSecret& secret) {
    ConfigCopies only;
    only.usable.push_back(imported_);
    // One from within a rotation of keys brings that back, to be gone on with.
    auto opened = VolumeOnDisk::unlock(only, secret, InRotation::kAllowed);
    if (!opened) {
        if (opened.error().kind != FailureKind::kDamage) return std::unexpected(opened.error());
        return fail(FailureKind::kDamage, name_,
                    " was changed by somebody without its keys; give another");
    }
    const BytesN<32> volume_key = opened->volume_key.bytes();
    // Again, now that nobody else changes it.
    auto present = present_copies(disk_);
    if (!present) return std::unexpected(present.error());
    // One that somebody without the key wrote says nothing, and is kept.
    std::erase_if(*present, [&](const ConfigCopy& copy) {
        return !volume::is_authentic(copy.config, volume_key);
    });
    volume::Config next = std::move(opened->config);
    if (present->empty()) {
        if (auto named = check_names(volume_key); !named) return std::unexpected(named.error());
        if (auto raised = volume::next_revision(next); !raised) {
            return std::unexpected(slot_failure(raised.error()));
        }
    } else if (auto back = volume::bring_back(next, present->front().config); !back) {
        return std::unexpected(slot_failure(back.error()));
    }
    const std::string text = volume::serialize_config(next, volume_key);
    auto notices = put_aside(*present);
    if (!notices) return notices;
    auto written = change_config(disk_, text);
    if (!written) return written;
    notices->insert(notices->end(), written->begin(), written->end());
    return notices;
}

}  // namespace extencfs::daemon
