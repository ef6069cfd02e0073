// SPDX-License-Identifier: Apache-2.0
// Durability of what is not a file's own: id files, side files, and the places of directories.
#include <fcntl.h>

#include <cerrno>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

namespace {
// Beyond this many, one syncfs is cheaper than remembering more.
constexpr std::size_t kMostUnsynced = 4096;
}  // namespace

void Filesystem::note_unsynced(NodeId directory, std::vector<std::string> names) {
    std::size_t count;
    {
        std::lock_guard lock(unsynced_mutex_);
        auto& known = unsynced_[directory];
        unsynced_count_ += names.size();
        for (auto& name : names) known.push_back(std::move(name));
        count = unsynced_count_;
    }
    if (count <= kMostUnsynced) return;
    std::unordered_map<NodeId, std::vector<std::string>> taken;
    {
        std::lock_guard lock(unsynced_mutex_);
        taken.swap(unsynced_);
        unsynced_count_ = 0;
    }
    if (lower_->syncfs(root_->fd.get())) return;
    std::lock_guard lock(unsynced_mutex_);  // it failed: they are still owed
    for (auto& [node, owed] : taken) {
        auto& known = unsynced_[node];
        known.insert(known.end(), owed.begin(), owed.end());
        unsynced_count_ += owed.size();
    }
}

Result<void> Filesystem::sync_names_in(NodeId node) {
    std::vector<std::string> names;
    {
        std::lock_guard lock(unsynced_mutex_);
        auto it = unsynced_.find(node);
        if (it == unsynced_.end()) return {};
        names = it->second;
    }
    auto dir = directory(node);
    if (!dir) return {};  // removed meanwhile: nothing is owed
    for (const auto& name : names) {
        auto fd = lower_->open((*dir)->fd.get(), name, O_RDONLY, 0);
        if (!fd) {
            if (fd.error().value == ENOENT) continue;
            return fail(fd.error());
        }
        if (auto r = lower_->fdatasync(fd->get()); !r) return fail(r.error());
    }
    if (auto r = lower_->fsync((*dir)->fd.get()); !r) return fail(r.error());
    std::lock_guard lock(unsynced_mutex_);
    auto it = unsynced_.find(node);
    if (it == unsynced_.end()) return {};
    // Only those that were synced: more may have come.
    it->second.erase(it->second.begin(),
                     it->second.begin() +
                         static_cast<std::ptrdiff_t>(std::min(names.size(), it->second.size())));
    unsynced_count_ -= std::min(unsynced_count_, names.size());
    if (it->second.empty()) unsynced_.erase(it);
    return {};
}

Result<void> Filesystem::sync_ancestors(NodeId node) {
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
    {
        std::lock_guard lock(unsynced_mutex_);
        if (unsynced_.empty()) return {};
    }
    if (auto r = sync_names_in(directory); !r) return r;
    return sync_ancestors(directory);
}

Result<void> Filesystem::fsync_directory(NodeId node) {
    if (options_.read_only) return {};
    if (auto is = view(node); is && is->gone) return {};  // nothing of it is left to keep
    auto dir = directory(node);
    if (!dir) return std::unexpected(dir.error());
    if (auto r = sync_names_in(node); !r) return r;
    if (auto r = lower_->fsync((*dir)->fd.get()); !r) return fail(r.error());
    return sync_ancestors(node);
}

void Filesystem::finish_renames() {
    std::vector<Location> renamed;
    {
        std::lock_guard lock(unsynced_mutex_);
        renamed.swap(renamed_);
    }
    for (const auto& location : renamed) {
        auto parent = directory(location.parent);
        if (!parent) continue;
        auto fd = lower_->open((*parent)->fd.get(), location.entry, O_RDONLY | O_DIRECTORY, 0);
        if (!fd) continue;  // moved on or removed: it has an entry of its own, or needs none
        // Failing leaves the old place valid too, as after a crash.
        (void)format_->after_directory_rename(*lower_, fd->get(), (*parent)->context,
                                              location.entry);
    }
}

}  // namespace extencfs::core
