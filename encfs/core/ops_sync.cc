// SPDX-License-Identifier: Apache-2.0
// Durability of what is not a file's own: id files, side files, and the places of directories.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

namespace {
// Beyond this many, one syncfs is cheaper than remembering more.
constexpr std::size_t kMostUnsynced = 4096;
// Directories that are still valid at an old place.
constexpr std::size_t kMostRenamed = 1024;
}  // namespace

void Filesystem::note_unsynced(NodeId directory, std::vector<std::string> names) {
    std::size_t count;
    {
        std::lock_guard lock(unsynced_mutex_);
        auto& known = unsynced_[directory];
        unsynced_count_ += names.size();
        for (auto& name : names) known.push_back({std::move(name), ++unsynced_number_});
        count = unsynced_count_;
    }
    if (count <= kMostUnsynced) return;
    {
        // Whoever syncs meanwhile must not think that nothing is owed.
        std::lock_guard lock(unsynced_mutex_);
        unsynced_.clear();
        unsynced_count_ = 0;
        ++lost_count_;
    }
    (void)sync_if_lost();  // failing, it stays owed to the next fsync, which tells its caller
}

Result<void> Filesystem::sync_if_lost() {
    std::lock_guard one(lost_sync_mutex_);
    std::uint64_t owed;
    {
        std::lock_guard lock(unsynced_mutex_);
        if (lost_count_ == lost_synced_) return {};
        owed = lost_count_;
    }
    if (auto r = lower_->syncfs(root_->fd.get()); !r) return fail(r.error());
    std::lock_guard lock(unsynced_mutex_);
    lost_synced_ = owed;
    return {};
}

Result<void> Filesystem::sync_directory(const DirHandle& dir) {
    // An O_PATH descriptor cannot be synced.
    auto r = dir.by_path_only ? lower_->syncfs(root_->fd.get()) : lower_->fsync(dir.fd.get());
    if (!r) return fail(r.error());
    return {};
}

Result<void> Filesystem::sync_names_in(NodeId node) {
    std::vector<Unsynced> files;
    std::uint64_t newest;
    {
        std::lock_guard lock(unsynced_mutex_);
        auto it = unsynced_.find(node);
        if (it == unsynced_.end()) return {};
        files = it->second;
        newest = unsynced_number_;
    }
    auto dir = directory(node);
    if (!dir) {
        const auto kind = dir.error().kind;
        // Removed meanwhile: nothing is owed.
        if (kind == ErrorKind::kNotFound || kind == ErrorKind::kStale) return {};
        return std::unexpected(dir.error());
    }
    for (const auto& [name, number] : files) {
        if ((*dir)->by_path_only) break;  // what is in it may be out of reach; syncfs has it all
        auto fd = lower_->open((*dir)->fd.get(), name, O_RDONLY, 0);
        if (!fd) {
            if (fd.error().value == ENOENT) continue;
            return fail(fd.error());
        }
        if (auto r = lower_->fdatasync(fd->get()); !r) return fail(r.error());
    }
    if (auto r = sync_directory(**dir); !r) return r;
    std::lock_guard lock(unsynced_mutex_);
    auto it = unsynced_.find(node);
    if (it == unsynced_.end()) return {};
    // Only those that were synced: more may have come, one of the same name among them.
    const std::size_t synced =
        std::erase_if(it->second, [newest](const Unsynced& file) { return file.number <= newest; });
    unsynced_count_ -= std::min(unsynced_count_, synced);
    if (it->second.empty()) unsynced_.erase(it);
    return {};
}

Result<void> Filesystem::sync_ancestors(NodeId node) {
    if (auto r = sync_if_lost(); !r) return r;
    {
        std::lock_guard lock(unsynced_mutex_);
        if (unsynced_.empty()) return {};
    }
    for (auto is = table_->view(node); is && is->location;
         is = table_->view(is->location->parent)) {
        if (auto r = sync_names_in(is->location->parent); !r) return r;
    }
    return {};
}

Result<void> Filesystem::sync_way_to(NodeId directory) {
    if (auto r = sync_if_lost(); !r) return r;
    {
        std::lock_guard lock(unsynced_mutex_);
        if (unsynced_.empty()) return {};
    }
    if (auto r = sync_names_in(directory); !r) return r;
    return sync_ancestors(directory);
}

Result<void> Filesystem::fsync_directory(NodeId node) {
    const auto still = still_paths();
    if (options_.read_only) return {};
    if (auto is = view(node); is && is->gone) return {};  // nothing of it is left to keep
    auto dir = directory(node);
    if (!dir) return std::unexpected(dir.error());
    if (auto r = sync_names_in(node); !r) return r;
    if (auto r = sync_directory(**dir); !r) return r;
    return sync_ancestors(node);
}

void Filesystem::bound_renames() {
    if (renamed_.count() < kMostRenamed) return;
    const std::unique_lock one(renamed_.settling(), std::try_to_lock);
    // Who is at it does it for all; failing, they stay to be settled.
    if (one) (void)settle_renames_alone(root_->fd.get());
}

void Filesystem::finish_renames() {
    forget_old_places(renamed_.take());
}

Result<void> Filesystem::settle_renames(int syncable) {
    const std::lock_guard one(renamed_.settling());
    return settle_renames_alone(syncable);
}

Result<void> Filesystem::settle_renames_alone(int syncable) {
    std::vector<RenamedDirectories::Place> renamed;
    {
        const std::shared_lock tree(tree_lock_);  // none of them is half done
        renamed = renamed_.take();
    }
    if (auto r = lower_->syncfs(syncable); !r) {
        renamed_.put_back(renamed);
        return fail(r.error());
    }
    const std::shared_lock tree(tree_lock_);
    // What was renamed since may not be durable, and keeps its old place.
    renamed_.remove_from(renamed);
    forget_old_places(renamed);
    return {};
}

void Filesystem::forget_old_places(const std::vector<RenamedDirectories::Place>& renamed) {
    for (const auto& [location, parent_ino] : renamed) {
        auto parent = directory(location.parent, Tree::kHeld);
        if (!parent) continue;
        auto fd = lower_->open((*parent)->fd.get(), location.entry, O_RDONLY | O_DIRECTORY, 0);
        if (!fd) continue;  // moved on or removed: it has an entry of its own, or needs none
        // Failing leaves the old place valid too, as after a crash.
        (void)format_->after_directory_rename(*lower_, fd->get(), (*parent)->context,
                                              location.entry);
    }
}

}  // namespace extencfs::core
