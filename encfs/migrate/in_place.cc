// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/in_place.h"

#include <fcntl.h>

#include <cerrno>

#include "encfs/volume/format.h"

namespace extencfs::migrate {

using daemon::errno_text;
using daemon::fail;
using daemon::FailureKind;

lower::Result<void> InPlace::sync(int dirfd) const {
    auto synced = fs_->fsync(dirfd);
    // EINVAL: this lower file system does not sync directories at all.
    if (!synced && synced.error().value != EINVAL) return synced;
    return {};
}

lower::Result<lower::Fd> InPlace::open_directory(int dirfd, const std::string& name) const {
    return fs_->open(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
}

Outcome<InPlaceView> InPlace::look() const {
    const bool half = exists(root_fd_, volume::kMigrationName);
    const char* name = half ? volume::kMigrationName : kWorkDone;
    const auto work = open_directory(root_fd_, name);
    if (!work && !half && work.error().value == ENOENT) return InPlaceView{};
    if (!work) {
        return fail(FailureKind::kOther, name, " in the volume's directory cannot be opened (",
                    errno_text(work.error().value), "); check its permissions");
    }
    auto journal = Journal::open(*fs_, work->get(), Form::kInPlace);
    if (!journal) return std::unexpected(journal.error());
    InPlaceView view{.stage = half ? InPlaceStage::kBegun : InPlaceStage::kComplete};
    // Where it was lost, files may be gone.
    view.removing = !*journal || (*journal)->is_removing();
    if (!*journal) return view;
    view.old_volume = (*journal)->old_volume();
    if (const auto& moving = (*journal)->moving()) {
        if (half) view.stage = InPlaceStage::kMovingUp;
        view.missing = moving->missing;
    }
    return view;
}

std::string InPlace::config_path() const {
    const auto work = open_directory(root_fd_, volume::kMigrationName);
    const auto kept =
        work ? open_directory(work->get(), kWorkConfigs) : std::unexpected(lower::Errno{ENOENT});
    for (const char* name : kEncfsConfigs) {
        if (kept && exists(kept->get(), name))
            return std::string(volume::kMigrationName) + "/" + kWorkConfigs + "/" + name;
        if (exists(root_fd_, name) && !is_placeholder(*fs_, root_fd_, name)) return name;
    }
    return {};
}

Outcome<void> InPlace::open_work(const char* name) {
    auto work = open_directory(root_fd_, name);
    if (!work) {
        return fail(FailureKind::kOther, name, " in the volume's directory cannot be opened (",
                    errno_text(work.error().value), "); check its permissions");
    }
    work_ = std::move(*work);
    auto journal = Journal::open(*fs_, work_.get(), Form::kInPlace);
    if (!journal) return std::unexpected(journal.error());
    journal_ = std::move(*journal);
    return {};
}

void InPlace::restore_root_times(const struct stat* otherwise) {
    const auto is = fs_->stat(root_fd_);
    if (!is) return;
    const auto saved = journal_ ? journal_->directory(is->st_ino) : std::nullopt;
    if (!saved && otherwise == nullptr) return;
    const struct timespec times[2] = {saved ? saved->atime : otherwise->st_atim,
                                      saved ? saved->mtime : otherwise->st_mtim};
    (void)fs_->utimens(root_fd_, times);
    (void)sync(root_fd_);
}

}  // namespace extencfs::migrate
