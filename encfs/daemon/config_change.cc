// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/config_change.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "encfs/volume/format.h"

namespace extencfs::daemon {
namespace {

// Nobody's configuration is longer; a file that is was not ours.
constexpr std::uint64_t kMostOverwritten = std::uint64_t{2} << 20;

lower::Result<void> overwrite_bytes(lower::LowerFs& fs, int fd, std::uint64_t size) {
    const ByteVector zeros(std::min(size, kMostOverwritten));
    if (auto put = fs.pwrite(fd, zeros, 0); !put) return put;
    return fs.fsync(fd);
}

// Whether a power cut can no longer bring back what a name stood for.
bool names_are_durable(lower::LowerFs& fs, int root_fd) {
    const auto synced = fs.fsync(root_fd);
    if (synced) return true;
    // EINVAL: this lower file system does not sync directories alone.
    return synced.error().value == EINVAL && fs.syncfs(root_fd);
}

}  // namespace

ReplacedFiles ReplacedFiles::hold(const VolumeOnDisk& disk) {
    ReplacedFiles replaced;
    std::vector<std::string> names = disk.leftovers();
    names.insert(names.end(), {volume::kConfigName, volume::kConfigBackupName});
    for (std::string& name : names) {
        auto file = disk.fs().open(disk.root_fd(), name, O_WRONLY | O_NONBLOCK | O_NOCTTY, 0);
        if (file) {
            replaced.files_.push_back({std::move(name), std::move(*file)});
        } else if (file.error().value != ENOENT) {
            replaced.not_held_.push_back("the old bytes of " + name + " stay on the disk (" +
                                         errno_text(file.error().value) + ")");
        }
    }
    return replaced;
}

Notices ReplacedFiles::overwrite(const VolumeOnDisk& disk) {
    Notices notices = std::move(not_held_);
    const std::vector<HeldFile> files = std::move(files_);
    files_.clear();
    for (std::string& left : overwrite_nameless(disk.fs(), disk.root_fd(), files)) {
        notices.push_back(std::move(left));
    }
    return notices;
}

Notices overwrite_nameless(lower::LowerFs& fs, int dirfd, const std::vector<HeldFile>& files) {
    Notices notices;
    bool durable = false;
    for (const HeldFile& held : files) {
        const auto is = fs.stat(held.file.get());
        if (!is || !S_ISREG(is->st_mode)) continue;
        if (is->st_nlink != 0) {
            // Its own name, if it was not replaced at all.
            const auto named = fs.stat_at(dirfd, held.name);
            if (named && named->st_ino == is->st_ino && named->st_dev == is->st_dev) continue;
            notices.push_back("the old " + held.name +
                              " has another name below (a hard link), which was left as it is");
            continue;
        }
        durable = durable || names_are_durable(fs, dirfd);
        if (!durable) {
            notices.push_back("the old bytes of " + held.name +
                              " were left on the disk: it does not tell when names are durable");
            continue;
        }
        const auto done =
            overwrite_bytes(fs, held.file.get(), static_cast<std::uint64_t>(is->st_size));
        if (!done) {
            notices.push_back("the old bytes of " + held.name + " could not be overwritten (" +
                              errno_text(done.error().value) + ")");
        }
    }
    return notices;
}

Outcome<Notices> change_config(const VolumeOnDisk& disk, const std::string& text) {
    // What was put there since the configuration was read.
    if (auto ours = disk.check_replaceable(text); !ours) return std::unexpected(ours.error());
    ReplacedFiles replaced = ReplacedFiles::hold(disk);
    if (auto main = disk.write_copy(volume::kConfigName, text); !main) {
        if (!disk.has_text(volume::kConfigName, text)) return std::unexpected(main.error());
        return fail(FailureKind::kConfigWrite,
                    "the change is in force, but may not outlast a power cut: ",
                    main.error().sentence, ", then run the same again");
    }
    if (auto backup = disk.write_copy(volume::kConfigBackupName, text); !backup) {
        return fail(FailureKind::kConfigWrite,
                    "the change is in force, but its second copy is not there: ",
                    backup.error().sentence, ", and mount the volume once, which writes it");
    }
    disk.remove_leftovers();
    return replaced.overwrite(disk);
}

Notices tell_put_aside(const VolumeOnDisk& disk, const ByteArray<16>& volume_id) {
    std::vector<std::string> names;
    (void)disk.fs().list(disk.root_fd(), [&](const lower::DirEntry& entry) {
        if (entry.name.starts_with(volume::kConfigOldPrefix)) names.emplace_back(entry.name);
        return true;
    });
    std::ranges::sort(names);
    Notices notices;
    for (const std::string& name : names) {
        const auto is = disk.fs().stat_at(disk.root_fd(), name);
        if (!is || !S_ISREG(is->st_mode)) continue;
        const auto copy = disk.read_copy(name.c_str());
        if (copy && copy->config.volume_id != volume_id) continue;
        notices.push_back(
            name +
            " is a configuration that was put aside, and keys that were changed or "
            "removed since may still open it; delete it once nothing of it is needed");
    }
    return notices;
}

}  // namespace extencfs::daemon
