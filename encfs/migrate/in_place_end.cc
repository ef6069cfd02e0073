// SPDX-License-Identifier: Apache-2.0
// How a migration in place ends: the new volume goes up into the root. Needs no password, and can
// be cut short at any call.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <vector>

#include "encfs/core/legacy_move.h"
#include "encfs/core/legacy_tail.h"
#include "encfs/migrate/in_place.h"
#include "encfs/migrate/remove_tree.h"
#include "encfs/volume/format.h"

namespace extencfs::migrate {

using daemon::errno_text;
using daemon::fail;
using daemon::FailureKind;

namespace {

constexpr std::string_view kSealedXattr = "user.extencfs.";

bool is_old_xattr(std::string_view name) {
    if (name.starts_with(kSealedXattr) || name.starts_with("trusted.overlay.")) return false;
    return name.starts_with("user.") || name.starts_with("trusted.");
}

lower::Result<std::vector<std::string>> xattrs(lower::LowerFs& fs, int fd) {
    auto names = fs.list_xattr(fd);
    if (!names && names.error().value == EOPNOTSUPP) return std::vector<std::string>();
    return names;
}

// What comes late: once it is in the root, that is a volume.
bool is_config(std::string_view name) {
    return name == volume::kConfigName || name == volume::kConfigBackupName;
}

}  // namespace

// The old ones are in `made_fd` too, sealed, until that is removed: they may go first, as both may
// not fit.
lower::Result<void> InPlace::move_attributes(int made_fd) {
    const auto there = xattrs(*fs_, root_fd_);
    if (!there) return std::unexpected(there.error());
    for (const std::string& name : *there) {
        if (!is_old_xattr(name) || journal_->moving()->keep_root_attributes) continue;
        auto gone = fs_->remove_xattr(root_fd_, name);
        if (!gone && gone.error().value != ENODATA) return gone;
    }
    const auto made = xattrs(*fs_, made_fd);
    if (!made) return std::unexpected(made.error());
    for (const std::string& name : *made) {
        if (!name.starts_with(kSealedXattr)) continue;
        const auto value = fs_->get_xattr(made_fd, name);
        if (!value) return std::unexpected(value.error());
        if (auto r = fs_->set_xattr(root_fd_, name, *value, 0); !r) return r;
    }
    return {};
}

lower::Result<void> InPlace::move_name(int made_fd, const std::string& name) {
    const auto rename = [&](lower::RenameMode mode) {
        return fs_->rename(made_fd, name, root_fd_, name, mode);
    };
    auto moved = rename(lower::RenameMode::kNoReplace);
    // Without RENAME_NOREPLACE: nobody else makes names here.
    if (!moved && moved.error().value == EINVAL) {
        if (exists(root_fd_, name)) {
            moved = std::unexpected(lower::Errno{EEXIST});
        } else {
            moved = rename(lower::RenameMode::kReplace);
        }
    }
    if (!moved && moved.error().value == EACCES) {
        // An ordinary user's directory that is closed to him: ".." in it is to be changed.
        const auto is = fs_->stat_at(made_fd, name);
        if (!is || !S_ISDIR(is->st_mode)) return moved;
        if (auto r = fs_->chmod_at(made_fd, name, (is->st_mode & 07777) | S_IRWXU); !r) return r;
        moved = rename(lower::RenameMode::kNoReplace);
        (void)fs_->chmod_at(moved ? root_fd_ : made_fd, name, is->st_mode & 07777);
    }
    if (!moved && moved.error().value == EEXIST) blocked_ = name;
    return moved;
}

lower::Result<void> InPlace::move_entries() {
    const auto made = open_directory(work_.get(), kWorkVolume);
    if (!made && made.error().value == ENOENT) return {};
    if (!made) return std::unexpected(made.error());
    if (auto r = move_attributes(made->get()); !r) return r;
    std::vector<std::string> names;
    const auto listed = fs_->list(made->get(), [&](const lower::DirEntry& entry) {
        if (!is_config(entry.name)) names.emplace_back(entry.name);
        return true;
    });
    if (!listed) return listed;
    // A long name is not listed without its side file.
    std::ranges::partition(
        names, [](const std::string& name) { return name.starts_with(volume::kLongSidePrefix); });
    for (const std::string& name : names) {
        if (auto r = move_name(made->get(), name); !r) return r;
    }
    if (auto r = fs_->syncfs(root_fd_); !r) return r;
    for (const char* name : {volume::kConfigBackupName, volume::kConfigName}) {
        if (!exists(made->get(), name)) continue;
        if (auto r = move_name(made->get(), name); !r) return r;
    }
    if (auto r = fs_->syncfs(root_fd_); !r) return r;
    return fs_->rmdir(work_.get(), kWorkVolume);
}

// Those that were set aside are in the root again, and the placeholder is not. Both steps may have
// been done before: what is in the root and is no placeholder stays.
lower::Result<void> InPlace::put_configs_back() {
    const auto configs = open_directory(work_.get(), kWorkConfigs);
    if (!configs) return std::unexpected(configs.error());
    for (const char* name : kEncfsConfigs) {
        const bool ours = is_placeholder(*fs_, root_fd_, name);
        if (exists(root_fd_, name) && !ours) continue;
        if (exists(configs->get(), name)) {
            auto r = fs_->rename(configs->get(), name, root_fd_, name, lower::RenameMode::kReplace);
            if (!r) return r;
        } else if (ours) {
            if (auto r = fs_->unlink(root_fd_, name); !r) return r;
        }
    }
    return {};
}

// Nothing is left that they open; their copies stay until finish().
lower::Result<void> InPlace::remove_configs() {
    const auto configs = open_directory(work_.get(), kWorkConfigs);
    if (!configs) return std::unexpected(configs.error());
    for (const char* name : kEncfsConfigs) {
        if (!exists(root_fd_, name)) continue;
        if (!is_placeholder(*fs_, root_fd_, name) && !exists(configs->get(), name)) continue;
        if (auto r = fs_->unlink(root_fd_, name); !r) return r;
    }
    for (const char* name : {core::kMoveJournal, core::kTailJournal}) {
        auto gone = fs_->unlink(root_fd_, name);
        if (!gone && gone.error().value != ENOENT) return gone;
    }
    return {};
}

Outcome<void> InPlace::record_moving(const Moving& moving) {
    const Record record{.type = static_cast<std::uint32_t>(RecordType::kMoving),
                        .mtime_nsec = moving.keep_root_attributes ? 1U : 0U,
                        .size = moving.missing};
    return journal_->append(std::span(&record, 1));
}

Outcome<void> InPlace::move_up() {
    const auto done = [&]() -> lower::Result<void> {
        if (auto r = move_entries(); !r) return r;
        auto configs = journal_->moving()->missing == 0 ? remove_configs() : put_configs_back();
        if (!configs) return configs;
        if (auto r = sync(root_fd_); !r) return r;
        auto r = fs_->rename(root_fd_, volume::kMigrationName, root_fd_, kWorkDone,
                             lower::RenameMode::kReplace);
        if (!r) return r;
        if (r = sync(root_fd_); !r) return r;
        auto gone = fs_->unlink(root_fd_, kWorkRoot);
        if (!gone && gone.error().value != ENOENT) return gone;
        return {};
    }();
    restore_root_times();
    if (done) return {};
    if (!blocked_.empty()) {
        return fail(FailureKind::kCipherDir, "the lower name ", blocked_,
                    " is in the way of one of the new volume; rename it, and run the same again");
    }
    return fail(FailureKind::kOther, "the new volume cannot be put in place (",
                errno_text(done.error().value),
                "); nothing is lost: check permissions and room, and run the same again");
}

Outcome<void> InPlace::settle() {
    if (auto opened = open_work(kWorkDone); !opened) return opened;
    (void)fs_->unlink(root_fd_, kWorkRoot);
    restore_root_times();
    return {};
}

Outcome<void> InPlace::finish() {
    const auto view = look();
    if (!view) return std::unexpected(view.error());
    if (view->stage == InPlaceStage::kNone) {
        return fail(FailureKind::kCipherDir,
                    "there is no migration in place that waits for its end; check the path");
    }
    if (view->stage != InPlaceStage::kComplete) {
        return fail(FailureKind::kCipherDir,
                    "the migration is not complete yet; go on with 'extencfs migrate --in-place'");
    }
    // Where an earlier end came as far as the journal, they are right.
    const auto root = fs_->stat(root_fd_);
    if (auto settled = settle(); !settled) return settled;
    const auto done = [&]() -> lower::Result<void> {
        // The journal last: it knows the root's times.
        if (auto r = remove_below(*fs_, work_.get(), kJournalName); !r) return r;
        return remove_entry(*fs_, root_fd_, kWorkDone);
    }();
    restore_root_times(root ? &*root : nullptr);
    if (done) return {};
    return fail(FailureKind::kOther, "the old configuration cannot be removed (",
                errno_text(done.error().value), "); check permissions, and run the same again");
}

}  // namespace extencfs::migrate
