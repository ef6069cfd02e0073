// SPDX-License-Identifier: Apache-2.0
// After an unclean end: looks at every file below, mends what a killed writer left half done, and
// so earns the clean mark for the next unmount. Runs beside the requests.
#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

void Filesystem::start_recovery_scan() {
    scan_complete_ = false;
    scan_ = std::thread([this] { recovery_scan(); });
}

void Filesystem::recovery_scan() {
    // Requests come first.
    ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
    bool good = true;
    // Each directory on the list holds one reference of ours.
    std::vector<NodeId> waiting{kRootNode};
    while (!waiting.empty()) {
        const NodeId node = waiting.back();
        waiting.pop_back();
        if (!stopping_ && !scan_directory(node, waiting)) good = false;
        if (node != kRootNode) forget(node, 1);
    }
    scan_complete_ = good && !stopping_;
}

bool Filesystem::scan_directory(NodeId node, std::vector<NodeId>& subdirectories) {
    auto dir = directory(node);
    // What lies below a damaged directory cannot be reached, and so is not half written by us.
    if (!dir) {
        const auto is = view(node);
        const bool removed = is && is->gone;  // since it was listed
        return removed || dir.error().kind == ErrorKind::kDamaged;
    }
    std::vector<std::string> entries, leftovers;
    const int dirfd = (*dir)->fd.get();
    auto listed = lower_->list(dirfd, [&](const lower::DirEntry& entry) {
        if (entry.name.starts_with(volume::kTempPrefix))
            leftovers.emplace_back(entry.name);
        else if (!format_->is_reserved(entry.name))
            entries.emplace_back(entry.name);
        return !stopping_;
    });
    if (!listed) return false;
    bool good = true;
    for (const auto& entry : entries) {
        if (stopping_) return false;
        Place at{*dir, Location{node, entry}, CipherName{entry, {}, {}}};
        std::shared_lock names(namespace_lock(node));
        auto is = lower_->stat_at(dirfd, entry);
        if (!is && is.error().value != ENOENT) good = false;
        if (!is || is->st_dev != lower_dev_) continue;
        if (!S_ISDIR(is->st_mode) && !S_ISREG(is->st_mode)) continue;
        const NodeId child = table_->acquire(at.location, is->st_ino, is->st_mode);
        names.unlock();
        if (child == 0) continue;
        if (S_ISDIR(is->st_mode)) {
            subdirectories.push_back(child);
            continue;
        }
        // A damaged file stays as it is; it needs no mending, and does not stand in the way.
        auto opened = file(child, OpenIntent::kWrite);
        if (opened) {
            auto mended = (*opened)->mend();
            if (!mended && mended.error().kind != ErrorKind::kDamaged) good = false;
            opened->reset();
        } else if (opened.error().kind != ErrorKind::kDamaged &&
                   opened.error().kind != ErrorKind::kStale && !is_errno(opened.error(), ENOENT)) {
            good = false;
        }
        forget(child, 1);
    }
    // Made by create where the lower file system has no O_TMPFILE; only our own, half-made ones:
    // the lock on the directory keeps a running create out.
    std::unique_lock names(namespace_lock(node));
    for (const auto& entry : leftovers) (void)lower_->unlink(dirfd, entry);
    return good;
}

}  // namespace extencfs::core
