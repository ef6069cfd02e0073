// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/volume_on_disk.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <optional>

#include "crypto/encoding.h"
#include "crypto/random.h"
#include "encfs/daemon/config_change.h"
#include "encfs/volume/rotation.h"
#include "encfs/volume/slots.h"

namespace extencfs::daemon {
namespace {

// parse_config takes 1 MiB at most; one byte more shows that a file is longer.
constexpr std::size_t kMostConfigBytes = 1024 * 1024;

Failure from_volume_error(const volume::Error& error, const std::string& name) {
    switch (error.kind) {
        case volume::ErrorKind::kWrongPassword:
            return {FailureKind::kWrongPassword, "the password is wrong; try again"};
        case volume::ErrorKind::kUnsupported:
            return {FailureKind::kUnsupported,
                    name + " needs something that this version does not know (" + error.detail +
                        "); use a newer extencfs"};
        case volume::ErrorKind::kNoMemory:
            return {FailureKind::kKeyDerivation,
                    "there is not enough memory to derive the key; free some, the volume's key "
                    "derivation asks for it ('extencfs info' shows how much)"};
        default:
            return {FailureKind::kDamage,
                    name + " is damaged (" + error.detail +
                        "); restore it from a backup of the volume, or bring an exported one back "
                        "with 'extencfs key import-header'"};
    }
}

Failure wrong_secret(const volume::OpeningSecret& secret) {
    const std::string where =
        secret.slot ? "key slot " + std::to_string(*secret.slot) : "a key slot of this volume";
    switch (secret.kind) {
        case volume::SlotKind::kKeyfile:
            return {FailureKind::kWrongPassword,
                    "the key file does not open " + where + "; give another"};
        case volume::SlotKind::kRecovery:
            return {FailureKind::kWrongPassword,
                    "the recovery key is whole, but does not open " + where + "; give another"};
        case volume::SlotKind::kSystemd:
        case volume::SlotKind::kTpm2:
        case volume::SlotKind::kFido2:
            return {FailureKind::kWrongPassword, "what the device holds does not open " + where +
                                                     "; give another key, then make that one anew"};
        default:
            return {FailureKind::kWrongPassword,
                    secret.slot ? "the password does not open " + where + "; try again"
                                : "the password is wrong; try again"};
    }
}

// Which slots there are, and of which kind, anybody can read: telling it gives nothing away.
Outcome<void> check_named_slot(const volume::Config& config, const volume::OpeningSecret& secret) {
    if (!secret.slot) return {};
    const volume::KeySlot* slot = volume::find_slot(config, *secret.slot);
    if (slot == nullptr) {
        return fail(FailureKind::kKeySlot, "the volume has no key slot ",
                    std::to_string(*secret.slot), "; 'extencfs key list' shows those it has");
    }
    if (slot->kind == secret.kind) return {};
    return fail(FailureKind::kKeySlot, "key slot ", std::to_string(*secret.slot), " is of type ",
                slot->kind_name, "; give what opens that, or another slot");
}

Failure no_volume(const std::string& path) {
    return {FailureKind::kCipherDir, path +
                                         " is not an extencfs volume (it has no extencfs.conf); "
                                         "check the path, or make a volume with 'extencfs init'"};
}

// Both ids are random and for ever; a changed character in one of them is damage.
bool of_two_volumes(const volume::Config& one, const volume::Config& other) {
    return one.volume_id != other.volume_id && one.root_id != other.root_id;
}

Failure of_two_volumes() {
    return {
        FailureKind::kDamage,
        std::string(volume::kConfigName) + " and " + volume::kConfigBackupName +
            " are of two volumes, or one is damaged; move the one that does not belong here to "
            "another directory, or bring back an exported one with 'extencfs key import-header'"};
}

Failure cannot_write(const std::string& name, int error) {
    return {FailureKind::kConfigWrite, name + " cannot be written (" + errno_text(error) +
                                           "); check free space and permissions"};
}

}  // namespace

Outcome<void> refuse_rotation(const volume::Config& config, const std::string& path) {
    if (!volume::is_rotating(config)) return {};
    return fail(FailureKind::kKeySlot, "the keys of ", path,
                " are being rotated; run 'extencfs key rotate' on it to go on with that");
}

Outcome<VolumeOnDisk> VolumeOnDisk::open(lower::LowerFs& fs, const std::string& path) {
    // Not through LowerFs: this is the one path that the user gives, symlinks and all.
    lower::Fd root(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root) {
        return fail(FailureKind::kCipherDir, path, " cannot be opened (", errno_text(errno),
                    "); give the directory that holds the volume");
    }
    return VolumeOnDisk(fs, path, std::move(root));
}

lower::Result<std::string> VolumeOnDisk::read_text(const char* name) const {
    const auto file = fs_->open(root_.get(), name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (!file) return std::unexpected(file.error());
    const auto st = fs_->stat(file->get());
    if (!st) return std::unexpected(st.error());
    if (!S_ISREG(st->st_mode)) return std::unexpected(lower::Errno{EINVAL});
    std::string text(
        std::min<std::size_t>(static_cast<std::size_t>(st->st_size), kMostConfigBytes) + 1, '\0');
    const auto size = fs_->pread(file->get(), std::as_writable_bytes(std::span(text)), 0);
    if (!size) return std::unexpected(size.error());
    text.resize(*size);
    return text;
}

Outcome<ConfigCopy> VolumeOnDisk::read_copy(const char* name) const {
    auto text = read_text(name);
    if (!text) {
        const int error = text.error().value;
        const auto kind = error == ENOENT   ? FailureKind::kCipherDir
                          : error == EINVAL ? FailureKind::kDamage
                                            : FailureKind::kConfigRead;
        return fail(kind, name, " cannot be read (", errno_text(error),
                    "); check its permissions and the disk");
    }
    auto config = volume::parse_config(*text);
    if (!config) return std::unexpected(from_volume_error(config.error(), name));
    return ConfigCopy{name, std::move(*text), std::move(*config)};
}

Outcome<ConfigCopies> VolumeOnDisk::read_config() const {
    ConfigCopies copies;
    std::optional<Failure> first;  // of a copy that is there
    for (const char* name : {volume::kConfigName, volume::kConfigBackupName}) {
        auto copy = read_copy(name);
        if (copy) {
            copies.usable.push_back(std::move(*copy));
            continue;
        }
        const Failure& failure = copy.error();
        const bool is_main = std::string_view(name) == volume::kConfigName;
        if (is_main && failure.kind == FailureKind::kUnsupported) return std::unexpected(failure);
        if (!first && failure.kind != FailureKind::kCipherDir) first = failure;
        copies.notices.push_back(failure.sentence);
    }
    if (copies.usable.empty()) return std::unexpected(first ? *first : no_volume(path_));
    if (copies.usable.size() == 2 &&
        of_two_volumes(copies.usable[0].config, copies.usable[1].config)) {
        return std::unexpected(of_two_volumes());
    }
    if (copies.usable.size() == 2 &&
        copies.usable[1].config.revision > copies.usable[0].config.revision) {
        copies.notices.push_back("extencfs.conf is older than its backup copy");
        std::swap(copies.usable[0], copies.usable[1]);
    }
    return copies;
}

Outcome<UnlockedVolume> VolumeOnDisk::unlock(const ConfigCopies& copies,
                                             const volume::OpeningSecret& secret,
                                             InRotation rotation) {
    if (rotation == InRotation::kRefused) {
        auto whole = refuse_rotation(copies.usable.front().config, "this volume");
        if (!whole) return std::unexpected(whole.error());
    }
    if (auto there = check_named_slot(copies.usable.front().config, secret); !there) {
        return std::unexpected(there.error());
    }
    std::optional<Failure> first;
    std::vector<std::string> notices = copies.notices;
    for (const ConfigCopy& copy : copies.usable) {
        const bool is_first = &copy == &copies.usable.front();
        if (!is_first && copy.text == copies.usable.front().text) break;
        auto opened = volume::open_slot(copy.config, secret);
        if (opened) {
            return UnlockedVolume{copy.config,
                                  copy.text,
                                  std::move(opened->volume_key),
                                  opened->slot,
                                  std::move(opened->box_key),
                                  std::move(notices)};
        }
        const Failure failure = opened.error().kind == volume::ErrorKind::kWrongPassword
                                    ? wrong_secret(secret)
                                    : from_volume_error(opened.error(), std::string(copy.name));
        if (is_first) first = failure;
        if (failure.kind != FailureKind::kWrongPassword && failure.kind != FailureKind::kDamage) {
            return std::unexpected(failure);
        }
        // An older copy may still have a slot that was removed since; a wrong password must not
        // find it there.
        if (is_first && failure.kind == FailureKind::kWrongPassword && copies.usable.size() == 2 &&
            copies.usable[1].config.revision != copy.config.revision) {
            break;
        }
        notices.push_back(
            std::string(copy.name) + " was passed over: " +
            (failure.kind == FailureKind::kDamage ? "it is damaged" : "no key slot opens"));
    }
    return std::unexpected(*first);
}

Outcome<void> VolumeOnDisk::replace(const char* name, const std::string& text,
                                    lower::RenameMode mode) const {
    std::array<std::byte, 8> random{};
    if (!crypto::fill_random(random)) return std::unexpected(cannot_write(name, EIO));
    const std::string temp = volume::kConfigTempPrefix + crypto::hex_encode(random);
    const auto put = [&]() -> lower::Result<void> {
        const auto file =
            fs_->open(root_.get(), temp, O_WRONLY | O_CREAT | O_EXCL | O_NOCTTY, 0600);
        if (!file) return std::unexpected(file.error());
        // Root may change the keys of somebody else's volume, who goes on using it.
        const auto old = fs_->stat_at(root_.get(), name);
        if (old && S_ISREG(old->st_mode)) {
            (void)fs_->chown(file->get(), old->st_uid, old->st_gid);
            (void)fs_->chmod(file->get(), old->st_mode & 0777U);
        }
        if (auto r = fs_->pwrite(file->get(), bytes_of(text), 0); !r) return r;
        if (auto r = fs_->fsync(file->get()); !r) return r;
        auto moved = fs_->rename(root_.get(), temp, root_.get(), name, mode);
        // Lower file systems without RENAME_NOREPLACE: the writer lock stands in for it.
        if (!moved && moved.error().value == EINVAL && mode == lower::RenameMode::kNoReplace) {
            if (fs_->stat_at(root_.get(), name)) return std::unexpected(lower::Errno{EEXIST});
            moved = fs_->rename(root_.get(), temp, root_.get(), name, lower::RenameMode::kReplace);
        }
        if (!moved) return moved;
        auto synced = fs_->fsync(root_.get());
        // EINVAL: this lower file system does not sync directories at all.
        if (!synced && synced.error().value != EINVAL) return synced;
        return {};
    }();
    if (!put) {
        (void)fs_->unlink(root_.get(), temp);
        if (put.error().value == EEXIST) {
            return fail(FailureKind::kCipherDir, path_,
                        " already holds a volume; give another directory");
        }
        return std::unexpected(cannot_write(name, put.error().value));
    }
    const auto back = read_text(name);
    if (!back || *back != text) {
        return fail(FailureKind::kConfigWrite, name,
                    " reads back differently from what was written; check the disk below");
    }
    return {};
}

Outcome<void> VolumeOnDisk::write_copy(const char* name, const std::string& text) const {
    return replace(name, text, lower::RenameMode::kReplace);
}

bool VolumeOnDisk::has_text(const char* name, const std::string& text) const {
    const auto present = read_text(name);
    return present && *present == text;
}

Outcome<void> VolumeOnDisk::write_config(const std::string& text) const {
    for (const char* name : {volume::kConfigName, volume::kConfigBackupName}) {
        if (auto done = replace(name, text, lower::RenameMode::kReplace); !done) return done;
    }
    return {};
}

Outcome<void> VolumeOnDisk::write_first_config(const std::string& text) const {
    if (auto done = replace(volume::kConfigName, text, lower::RenameMode::kNoReplace); !done) {
        return done;
    }
    return replace(volume::kConfigBackupName, text, lower::RenameMode::kReplace);
}

Outcome<void> VolumeOnDisk::check_replaceable(const std::string& text) const {
    const auto next = volume::parse_config(text);
    for (const char* name : {volume::kConfigName, volume::kConfigBackupName}) {
        const auto copy = read_copy(name);
        if (!copy && copy.error().kind == FailureKind::kUnsupported) {
            return fail(FailureKind::kUnsupported, name,
                        " is not written over, as it is of a newer extencfs; use that, or move the "
                        "file to another directory");
        }
        if (copy && next && of_two_volumes(copy->config, *next)) {
            return fail(FailureKind::kDamage, name,
                        " is not written over, as it is of another volume; move it to another "
                        "directory");
        }
    }
    return {};
}

Outcome<std::vector<std::string>> VolumeOnDisk::repair_config(const std::string& text) const {
    if (auto ours = check_replaceable(text); !ours) return std::unexpected(ours.error());
    ReplacedFiles replaced = ReplacedFiles::hold(*this);
    remove_leftovers();
    std::vector<std::string> rewritten;
    for (const char* name : {volume::kConfigName, volume::kConfigBackupName}) {
        if (has_text(name, text)) continue;
        if (auto done = replace(name, text, lower::RenameMode::kReplace); !done) {
            return std::unexpected(done.error());
        }
        rewritten.emplace_back(name);
    }
    // What cannot be overwritten is told by the commands that change keys, not by each mount.
    (void)replaced.overwrite(*this);
    return rewritten;
}

std::vector<std::string> VolumeOnDisk::leftovers() const {
    std::vector<std::string> names;
    (void)fs_->list(root_.get(), [&](const lower::DirEntry& entry) {
        if (entry.name.starts_with(volume::kConfigTempPrefix)) names.emplace_back(entry.name);
        return true;
    });
    return names;
}

void VolumeOnDisk::remove_leftovers() const {
    for (const std::string& name : leftovers()) (void)fs_->unlink(root_.get(), name);
}

Outcome<void> VolumeOnDisk::check_not_migrating() const {
    if (!fs_->stat_at(root_.get(), volume::kMigrationName)) return {};
    return fail(FailureKind::kMigrating, path_,
                " is half migrated, in two formats; go on with 'extencfs migrate --in-place ",
                path_, "'");
}

bool VolumeOnDisk::folds_case(const std::string& name) const {
    std::string other = name;
    std::ranges::transform(other, other.begin(), [](unsigned char c) {
        return static_cast<char>(std::isupper(c) != 0 ? std::tolower(c) : std::toupper(c));
    });
    const auto a = fs_->stat_at(root_.get(), name);
    const auto b = fs_->stat_at(root_.get(), other);
    return a && b && a->st_ino == b->st_ino && a->st_dev == b->st_dev;
}

Outcome<void> VolumeOnDisk::check_names_survive(const volume::Config& config) const {
    const auto stats = fs_->statvfs(root_.get());
    if (stats && stats->f_namemax != 0 && stats->f_namemax < volume::kMaxLowerName) {
        return fail(FailureKind::kCipherDir, "the file system below ", path_, " takes names of ",
                    std::to_string(stats->f_namemax),
                    " bytes only and a volume needs 255; put the volume on another one");
    }
    if (config.name_encoding == volume::NameEncoding::kBase32Hex) return {};
    for (const char* name : {volume::kConfigName, volume::kConfigBackupName}) {
        if (!folds_case(name)) continue;
        return fail(FailureKind::kCipherDir, "the file system below ", path_,
                    " does not tell upper from lower case and this volume's names need it; copy "
                    "its files to a new volume made there");
    }
    return {};
}

}  // namespace extencfs::daemon
