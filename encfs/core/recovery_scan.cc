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
#include "encfs/core/own_change.h"
#include "encfs/volume/format.h"

namespace extencfs::core {

void Filesystem::start_recovery_scan() {
    scan_complete_ = false;
    scanning_ = true;
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
    scanning_ = false;
}

bool Filesystem::scan_directory(NodeId node, std::vector<NodeId>& subdirectories) {
    auto dir = directory(node);
    // Removed meanwhile: there is nothing to mend.
    auto gone = [&] {
        auto is = table_->view(node);
        if (is && is->location) {
            // An rmdir under way holds this until the table has it.
            std::shared_lock removing(namespace_lock(is->location->parent));
            is = table_->view(node);
        }
        return !is || is->gone;
    };
    // What lies below a damaged directory cannot be reached, and so is not half written by us.
    if (!dir) return dir.error().kind == ErrorKind::kDamaged || gone();
    std::vector<std::string> entries, leftovers, side_files;
    const int dirfd = (*dir)->fd.get();
    auto listed = lower_->list(dirfd, [&](const lower::DirEntry& entry) {
        if (entry.name.starts_with(volume::kTempPrefix))
            leftovers.emplace_back(entry.name);
        else if (!format_->is_reserved(entry.name))
            entries.emplace_back(entry.name);
        else if (!format_->entry_of_side_file(entry.name).empty())
            side_files.emplace_back(entry.name);
        return !stopping_;
    });
    if (!listed) return gone();
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
    const std::unordered_set<std::string> listed_entries(entries.begin(), entries.end());
    std::erase_if(side_files, [&](const std::string& side) {
        return listed_entries.contains(format_->entry_of_side_file(side));
    });
    sweep(dirfd, node, leftovers, side_files);
    return good;
}

void Filesystem::sweep(int dirfd, NodeId node, const std::vector<std::string>& leftovers,
                       const std::vector<std::string>& side_files) {
    if (leftovers.empty() && side_files.empty()) return;
    // A create that is under way holds this lock from before its side file until after its entry.
    std::unique_lock names(namespace_lock(node));
    auto change = OwnChange::begin(sink_.get(), *lower_, dirfd);
    if (!change) return;  // they are hidden, and swept another time
    // Made by create where the lower file system has no O_TMPFILE.
    for (const auto& entry : leftovers) (void)lower_->unlink(dirfd, entry);
    for (const auto& side : side_files) {
        auto entry = lower_->stat_at(dirfd, format_->entry_of_side_file(side));
        if (!entry && entry.error().value == ENOENT) (void)lower_->unlink(dirfd, side);
    }
}

}  // namespace extencfs::core
