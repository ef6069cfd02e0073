// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/volume_create.h"

#include <fcntl.h>

#include <cerrno>
#include <string_view>

namespace extencfs::daemon {
namespace {

constexpr const char* kProbeName = "extencfs.t.CaseProbe";

// What may be in a directory that takes a new volume.
bool is_harmless(std::string_view name) {
    return name == "lost+found" || name == volume::kStateName || name == kProbeName ||
           name.starts_with(volume::kConfigTempPrefix);
}

Outcome<void> check_empty(const VolumeOnDisk& disk) {
    std::string first;
    bool has_config = false;
    const auto listed = disk.fs().list(disk.root_fd(), [&](const lower::DirEntry& entry) {
        if (entry.name == volume::kConfigName || entry.name == volume::kConfigBackupName) {
            has_config = true;
            return false;
        }
        if (first.empty() && !is_harmless(entry.name)) first = entry.name;
        return true;
    });
    if (!listed) {
        return fail(FailureKind::kCipherDir, disk.path(), " cannot be listed (",
                    errno_text(listed.error().value), "); check its permissions");
    }
    if (has_config) {
        return fail(FailureKind::kCipherDir, disk.path(),
                    " already holds a volume; mount it, or give another directory");
    }
    if (!first.empty()) {
        return fail(FailureKind::kCipherDir, disk.path(),
                    " is not empty; give a new or empty directory");
    }
    return {};
}

Outcome<volume::NameEncoding> probe_encoding(const VolumeOnDisk& disk) {
    lower::LowerFs& fs = disk.fs();
    const auto probe = fs.open(disk.root_fd(), kProbeName, O_WRONLY | O_CREAT | O_NOCTTY, 0600);
    if (!probe) {
        return fail(FailureKind::kConfigWrite, disk.path(), " cannot be written (",
                    errno_text(probe.error().value), "); check free space and permissions");
    }
    const bool folds = disk.folds_case(kProbeName);
    if (auto gone = fs.unlink(disk.root_fd(), kProbeName); !gone) {
        return fail(FailureKind::kConfigWrite, "a file cannot be removed from ", disk.path(), " (",
                    errno_text(gone.error().value), "); check its permissions");
    }
    return folds ? volume::NameEncoding::kBase32Hex : volume::NameEncoding::kBase64Url;
}

}  // namespace

Outcome<VolumeCreation> VolumeCreation::prepare(const VolumeOnDisk& disk) {
    if (auto empty = check_empty(disk); !empty) return std::unexpected(empty.error());
    auto lock = WriterLock::acquire(disk.fs(), disk.root_fd());
    if (!lock) return std::unexpected(lock.error());
    // Again, now that no second init can run beside this one.
    if (auto empty = check_empty(disk); !empty) return std::unexpected(empty.error());
    disk.remove_leftovers();
    VolumeCreation creation(disk, std::move(*lock));
    const auto encoding = probe_encoding(disk);
    if (!encoding) return std::unexpected(encoding.error());
    creation.name_encoding_ = *encoding;
    volume::Config names_only;
    names_only.name_encoding = *encoding;
    if (auto fit = disk.check_names_survive(names_only); !fit) {
        return std::unexpected(fit.error());
    }
    return creation;
}

VolumeCreation::~VolumeCreation() {
    // Under the lock, which goes after this.
    if (unfinished_.value) (void)disk_->fs().unlink(disk_->root_fd(), volume::kStateName);
}

Outcome<volume::Config> VolumeCreation::finish(volume::NewVolume choice, Bytes password,
                                               crypto::Key256* box_key) {
    choice.name_encoding = name_encoding_;
    crypto::Key256 volume_key;
    auto config = volume::new_config(choice, password, volume_key, box_key);
    if (!config) {
        if (config.error().kind == volume::ErrorKind::kNoMemory) {
            return fail(FailureKind::kKeyDerivation,
                        "there is not enough memory for this key derivation; choose a smaller one "
                        "with --kdf");
        }
        return fail(FailureKind::kOther, "the configuration cannot be made (",
                    config.error().detail, "); this is a fault of extencfs, please report it");
    }
    const std::string text = volume::serialize_config(*config, volume_key.bytes());
    // Before the configuration: once that is there, the volume is whole.
    unfinished_.value = false;
    if (auto marked = lock_.end_clean(); !marked) return std::unexpected(marked.error());
    if (auto written = disk_->write_first_config(text); !written) {
        return std::unexpected(written.error());
    }
    return std::move(*config);
}

}  // namespace extencfs::daemon
