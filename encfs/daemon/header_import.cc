// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/header_import.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "crypto/encoding.h"
#include "crypto/random.h"
#include "encfs/daemon/key_editor.h"
#include "encfs/daemon/mount_table.h"
#include "encfs/daemon/root_names.h"
#include "encfs/volume/dir_file.h"
#include "encfs/volume/file_header.h"
#include "encfs/volume/format.h"
#include "encfs/volume/rotation.h"
#include "encfs/volume/volume_keys.h"

namespace extencfs::daemon {
namespace {

constexpr std::array kCopyNames{volume::kConfigName, volume::kConfigBackupName};

// Other programs' volumes, by what lies in them.
struct Mark {
    const char* name;
    const char* program;
};
constexpr std::array kMarks{
    Mark{".encfs6.xml", "EncFS"},
    Mark{".encfs5", "EncFS"},
    Mark{".encfs4", "EncFS"},
    Mark{".encfs7", "EncFS"},
    Mark{"gocryptfs.conf", "gocryptfs"},
    Mark{"cryfs.config", "CryFS"},
};

bool has_config(const VolumeOnDisk& disk) {
    return std::ranges::any_of(kCopyNames, [&](const char* name) {
        return disk.fs().stat_at(disk.root_fd(), name).has_value();
    });
}

lower::Result<lower::Fd> open_plain(const VolumeOnDisk& disk, const std::string& name) {
    return disk.fs().open(disk.root_fd(), name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
}

// Whether a copy that could not be read is lost: the disk does not give it. One that may only not
// be opened is whole, for all one knows.
bool is_lost(const VolumeOnDisk& disk, const char* name) {
    const auto file = open_plain(disk, name);
    return file || file.error().value == EIO || file.error().value == ENOENT;
}

// What can be read there; nothing where that is why something is to be brought back.
// ERRORS: kUnsupported, kConfigRead.
Outcome<std::vector<ConfigCopy>> present_copies(const VolumeOnDisk& disk) {
    std::vector<ConfigCopy> copies;
    for (const char* name : kCopyNames) {
        auto copy = disk.read_copy(name);
        if (copy) {
            copies.push_back(std::move(*copy));
        } else if (copy.error().kind == FailureKind::kUnsupported ||
                   (copy.error().kind == FailureKind::kConfigRead && !is_lost(disk, name))) {
            return fail(copy.error().kind, copy.error().sentence,
                        ", or move it to another directory");
        }
    }
    return copies;
}

// The key generation that a file in the root says it is of; 0: none.
std::uint32_t generation_of(const VolumeOnDisk& disk, const std::string& entry) {
    const auto is = disk.fs().stat_at(disk.root_fd(), entry);
    if (!is || !S_ISREG(is->st_mode)) return 0;
    const auto file = open_plain(disk, entry);
    if (!file) return 0;
    const auto read = [&](MutBytes bytes) {
        const auto got = disk.fs().pread(file->get(), bytes, 0);
        return got && *got == bytes.size();
    };
    if (entry == volume::kDirFileName) {
        ByteArray<volume::kDirFileSize> bytes{};
        return read(bytes) ? volume::peek_dir_generation(bytes).value_or(0) : 0;
    }
    ByteArray<volume::kFileHeaderSize> bytes{};
    return read(bytes) ? volume::peek_generation(bytes).value_or(0) : 0;
}

// A directory without a configuration: that it may be a volume which lost it, and is none of the
// empty directories that volumes are mounted on.
Outcome<void> check_was_volume(const VolumeOnDisk& disk) {
    for (const Mark& mark : kMarks) {
        if (!disk.fs().stat_at(disk.root_fd(), mark.name)) continue;
        return fail(FailureKind::kCipherDir, disk.path(), " is a volume of ", mark.program,
                    " (it has ", mark.name, "); give the volume that it was exported from");
    }
    const auto place = resolve_mountpoint(disk.path());
    const auto mount = place ? find_mount(*place) : std::nullopt;
    if (mount && is_extencfs(*mount)) {
        return fail(FailureKind::kCipherDir, disk.path(),
                    " is where a volume is mounted; give the directory that holds the volume");
    }
    bool any = false;
    const auto listed = disk.fs().list(disk.root_fd(), [&](const lower::DirEntry& entry) {
        any = any || entry.name != "lost+found";
        return !any;
    });
    if (!listed) {
        return fail(FailureKind::kCipherDir, disk.path(), " cannot be listed (",
                    errno_text(listed.error().value), "); check its permissions");
    }
    if (any) return {};
    return fail(FailureKind::kCipherDir, disk.path(),
                " is empty and no volume; give the directory that holds the volume");
}

// Whether one of the copies is of that volume.
bool has_copy_of(const std::vector<ConfigCopy>& copies, const ByteArray<16>& volume_id) {
    return std::ranges::any_of(
        copies, [&](const ConfigCopy& copy) { return copy.config.volume_id == volume_id; });
}

// None of the copies, which are there, is of the volume of `name`.
std::unexpected<Failure> of_another_volume(const std::vector<ConfigCopy>& copies,
                                           const std::string& name, const std::string& path) {
    std::string files;
    for (const ConfigCopy& copy : copies)
        files += (files.empty() ? "" : " and ") + std::string(copy.name);
    return fail(FailureKind::kKeySlot, files, " in ", path, copies.size() == 1 ? " is" : " are",
                " of another volume than ", name,
                "; give what was exported from this one, or, if that does not belong here, move it "
                "to another directory");
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
    if (auto whole = disk->check_not_migrating(); !whole) return std::unexpected(whole.error());
    const bool had_config = has_config(*disk);
    if (!had_config) {
        if (auto was = check_was_volume(*disk); !was) return std::unexpected(was.error());
    }
    const auto present = present_copies(*disk);
    if (!present) return std::unexpected(present.error());
    if (!present->empty() && !has_copy_of(*present, config->volume_id))
        return of_another_volume(*present, name, path);
    HeaderImport made(std::move(*disk), std::move(name),
                      {volume::kConfigName, std::move(text), std::move(*config)});
    // Without a configuration only a secret tells whether that becomes a volume: no file before.
    if (had_config) {
        if (auto held = made.hold(); !held) return std::unexpected(held.error());
    }
    return made;
}

Outcome<void> HeaderImport::hold() {
    if (lock_) return {};
    auto lock = lock_for_keys(disk_);
    if (!lock) return std::unexpected(lock.error());
    lock_.emplace(std::move(*lock));
    return {};
}

HeaderImport::~HeaderImport() {
    // Under the lock, which goes after this.
    if (unfinished_.value) (void)disk_.fs().unlink(disk_.root_fd(), volume::kStateName);
}

Outcome<void> HeaderImport::check_names(BytesN<32> volume_key) const {
    const auto keys = volume::VolumeKeys::derive(imported_.config, volume_key);
    if (!keys) {
        return fail(FailureKind::kDamage, name_, " holds keys that do not open (",
                    keys.error().detail, "); give another");
    }
    const auto names = count_root_names(disk_.fs(), disk_.root_fd(), **keys);
    if (!names) {
        return fail(FailureKind::kOther, disk_.path(), " cannot be listed (",
                    errno_text(names.error().value), "); check its permissions");
    }
    if (names->ours > names->others) return {};
    if (names->ours + names->others + names->foreign == 0) return {};
    // One may be an old file that came back. What no volume makes says nothing beside names of one.
    const std::size_t all = names->ours + names->others;
    const std::string count =
        all == 0 ? "no name"
                 : std::to_string(names->ours) + " of " + std::to_string(all) + " names";
    return fail(FailureKind::kKeySlot, count, " in ", disk_.path(), all < 2 ? " is" : " are",
                " of the keys in ", name_,
                ", which is of another volume or from before its keys were rotated; give the one "
                "that was exported from this volume last");
}

Outcome<void> HeaderImport::check_no_rotation() const {
    if (!volume::is_rotating(imported_.config) &&
        disk_.fs().stat_at(disk_.root_fd(), volume::kRotationName)) {
        return fail(FailureKind::kKeySlot, "a rotation of the keys of ", disk_.path(),
                    " was cut short, and ", name_,
                    " is not from within it; give what was exported "
                    "while it lasted, or, if nothing was sealed anew yet or it had ended, move ",
                    volume::kRotationName, " to another directory first");
    }
    // One without that file. An older generation only says that an old file came back.
    const std::uint32_t last = imported_.config.generations.back().number;
    std::vector<std::string> entries;
    const auto listed = disk_.fs().list(disk_.root_fd(), [&](const lower::DirEntry& entry) {
        entries.emplace_back(entry.name);
        return true;
    });
    if (!listed) {
        return fail(FailureKind::kOther, disk_.path(), " cannot be listed (",
                    errno_text(listed.error().value), "); check its permissions");
    }
    const auto newer = std::ranges::find_if(
        entries, [&](const std::string& entry) { return generation_of(disk_, entry) > last; });
    if (newer == entries.end()) return {};
    return fail(FailureKind::kKeySlot, *newer, " in ", disk_.path(),
                " is of later keys than those in ", name_,
                ", which is from before a rotation of the keys; give what was exported after that "
                "or while it lasted, or, if the file does not belong here, move it to another "
                "directory first");
}

Outcome<HeaderImport::Copies> HeaderImport::check_present(const Copies& present,
                                                          BytesN<32> volume_key) const {
    Copies ours;
    std::string unknown;
    bool any_foreign = false;
    bool older = true;  // the unknown ones are from before a rotation that made the header's keys
    for (const ConfigCopy& copy : present) {
        if (copy.config.volume_id != imported_.config.volume_id) {
            any_foreign = true;
        } else if (volume::is_authentic(copy.config, volume_key)) {
            ours.push_back(copy);
        } else {
            unknown += (unknown.empty() ? "" : " and ") + std::string(copy.name);
            older = older && copy.config.generations.back().number <
                                 imported_.config.generations.back().number;
        }
    }
    // After a rotation of keys that is the only way to what the volume holds by now. Nothing tells
    // it from one that was forged.
    if (!unknown.empty()) {
        const std::string which = older ? unknown + " came back from before a rotation of the keys"
                                        : "the keys were rotated since it was exported";
        return fail(FailureKind::kKeySlot, name_, " is not of the present keys of ", disk_.path(),
                    ": ", which, ", or somebody changed ", unknown, "; to use ", name_,
                    " all the same, move ", unknown, " to another directory first");
    }
    if (ours.empty() && any_foreign) return of_another_volume(present, name_, disk_.path());
    if (ours.empty()) {
        if (auto whole = check_no_rotation(); !whole) return std::unexpected(whole.error());
    }
    if (ours.empty() || any_foreign) {
        if (auto named = check_names(volume_key); !named) return std::unexpected(named.error());
    }
    std::ranges::sort(ours, std::ranges::greater{},
                      [](const ConfigCopy& copy) { return copy.config.revision; });
    return ours;
}

Outcome<Notices> HeaderImport::put_aside(const Copies& good, const Copies& present) const {
    Notices notices;
    for (const char* name : kCopyNames) {
        const auto is_it = [&](const ConfigCopy& copy) { return copy.name == name; };
        if (std::ranges::any_of(good, is_it)) continue;
        const char* why =
            std::ranges::any_of(present, is_it) ? "is of another volume" : "could not be read";
        std::array<std::byte, 8> random{};
        if (!crypto::fill_random(random)) {
            return fail(FailureKind::kOther, "the kernel gives no random bytes; try again");
        }
        const std::string aside = volume::kConfigOldPrefix + crypto::hex_encode(random);
        const auto moved = disk_.fs().rename(disk_.root_fd(), name, disk_.root_fd(), aside,
                                             lower::RenameMode::kReplace);
        if (!moved && moved.error().value == ENOENT) continue;
        if (!moved) {
            return fail(FailureKind::kConfigWrite, name, ", which ", why, ", cannot be kept (",
                        errno_text(moved.error().value), "); check the permissions of ",
                        disk_.path());
        }
        notices.push_back(std::string(name) + " " + why + " and is kept as " + aside);
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
    if (!lock_) {
        if (auto held = hold(); !held) return std::unexpected(held.error());
        unfinished_.value = lock_->made_file();
    }
    // Again, now that nobody else changes it.
    const auto present = present_copies(disk_);
    if (!present) return std::unexpected(present.error());
    const auto ours = check_present(*present, volume_key);
    if (!ours) return std::unexpected(ours.error());
    volume::Config next = std::move(opened->config);
    const auto follows = ours->empty() ? volume::next_revision(next)
                                       : volume::bring_back(next, ours->front().config);
    if (!follows) return std::unexpected(slot_failure(follows.error()));
    const std::string text = volume::serialize_config(next, volume_key);
    auto notices = put_aside(*ours, *present);
    if (!notices) return notices;
    // From here on something of the volume is there.
    unfinished_.value = false;
    auto written = change_config(disk_, text);
    if (!written) return written;
    notices->insert(notices->end(), written->begin(), written->end());
    return notices;
}

}  // namespace extencfs::daemon
