// SPDX-License-Identifier: Apache-2.0
// How a migration ends: declared complete, or taken back.
#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>
#include <vector>

#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"
#include "encfs/migrate/volumes.h"
#include "encfs/volume/format.h"

namespace extencfs::migrate {
namespace {

using daemon::errno_text;
using daemon::fail;
using daemon::FailureKind;

std::unexpected<daemon::Failure> no_migration(const std::string& path) {
    return fail(FailureKind::kCipherDir, path,
                " is no migration that waits for its end; check the path");
}

lower::Result<void> remove_below(lower::LowerFs& fs, int dirfd, const std::string& keep);

// What is at a name, and everything below it.
lower::Result<void> remove_entry(lower::LowerFs& fs, int dirfd, const std::string& name) {
    const auto is = fs.stat_at(dirfd, name);
    if (!is) return std::unexpected(is.error());
    if (!S_ISDIR(is->st_mode)) return fs.unlink(dirfd, name);
    auto directory = fs.open(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (!directory && directory.error().value == EACCES) {
        if (auto r = fs.chmod_at(dirfd, name, 0700); !r) return r;
        directory = fs.open(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    }
    if (!directory) return std::unexpected(directory.error());
    if ((is->st_mode & S_IRWXU) != S_IRWXU) (void)fs.chmod(directory->get(), 0700);
    if (auto r = remove_below(fs, directory->get(), {}); !r) return r;
    return fs.rmdir(dirfd, name);
}

lower::Result<void> remove_below(lower::LowerFs& fs, int dirfd, const std::string& keep) {
    std::vector<std::string> names;
    const auto listed = fs.list(dirfd, [&](const lower::DirEntry& entry) {
        if (entry.name != keep) names.emplace_back(entry.name);
        return true;
    });
    if (!listed) return listed;
    for (const std::string& name : names) {
        auto gone = remove_entry(fs, dirfd, name);
        if (!gone && gone.error().value != ENOENT) return gone;
    }
    return {};
}

}  // namespace

Outcome<void> finish(lower::LowerFs& fs, const std::string& path) {
    const auto disk = daemon::VolumeOnDisk::open(fs, path);
    if (!disk) return std::unexpected(disk.error());
    if (!fs.stat_at(disk->root_fd(), kJournalName)) return no_migration(path);
    const auto lock = daemon::WriterLock::acquire(fs, disk->root_fd());
    if (!lock) return std::unexpected(lock.error());
    auto journal = Journal::open(fs, disk->root_fd());
    if (!journal) return std::unexpected(journal.error());
    if (!*journal) return no_migration(path);
    if (!(*journal)->is_complete()) {
        return fail(FailureKind::kCipherDir, path,
                    " is not complete yet; run 'extencfs migrate OLD NEW' again to go on");
    }
    return (*journal)->remove();
}

Outcome<void> roll_back(lower::LowerFs& fs, const std::string& path) {
    const auto disk = daemon::VolumeOnDisk::open(fs, path);
    if (!disk) return std::unexpected(disk.error());
    const int root = disk->root_fd();
    if (!fs.stat_at(root, kJournalName)) return no_migration(path);
    const auto removed = [&]() -> Outcome<void> {
        const auto lock = daemon::WriterLock::acquire(fs, root);
        if (!lock) return std::unexpected(lock.error());
        const auto told = [&path](lower::Errno error) {
            return fail(FailureKind::kOther, path, " cannot be removed (", errno_text(error.value),
                        "); check its permissions, and run the same again");
        };
        // The journal last: it is what says that all this may be removed.
        if (auto r = remove_below(fs, root, kJournalName); !r) return told(r.error());
        if (auto r = fs.unlink(root, kJournalName); !r) return told(r.error());
        return {};
    }();
    if (!removed) return removed;
    // It may be a mount point, or not ours to remove.
    (void)::rmdir(path.c_str());
    return {};
}

}  // namespace extencfs::migrate
