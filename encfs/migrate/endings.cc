// SPDX-License-Identifier: Apache-2.0
// How a migration ends: declared complete, or taken back.
#include <fcntl.h>
#include <unistd.h>

#include <string_view>

#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"
#include "encfs/migrate/remove_tree.h"
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
