// SPDX-License-Identifier: Apache-2.0
// Internal to core: what a file system keeps for rotations of keys beside its operations (ADR
// 0014).
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include "encfs/core/inode_table.h"
#include "encfs/core/listing_snapshots.h"
#include "encfs/core/rotation.h"
#include "encfs/core/types.h"
#include "encfs/lower/fd.h"

namespace extencfs::core {

class Format1;

// What the walk must look at for its own sake, and what it is done with.
// THREADS: any. LOCKS: one mutex, a leaf.
class RotationNotes {
  public:
    // Something came to lie there by a rename or link. Both nodes with a reference.
    struct Moved {
        NodeId node = 0;
        Location location;
        bool by_name = false;  // each of its names for itself: a symlink
    };
    // False: it waits there already, whose references those of `moved` are not.
    bool add(const Moved& moved) {
        const std::lock_guard lock(mutex_);
        Key key{moved.node, 0, {}};
        if (moved.by_name) key = {moved.node, moved.location.parent, moved.location.entry};
        return moved_.emplace(std::move(key), moved).second;
    }
    std::optional<Moved> take_one() {
        const std::lock_guard lock(mutex_);
        if (moved_.empty()) return std::nullopt;
        return std::move(moved_.extract(moved_.begin()).mapped());
    }
    std::vector<Moved> take_all() {
        const std::lock_guard lock(mutex_);
        std::vector<Moved> all;
        all.reserve(moved_.size());
        for (auto& [key, moved] : moved_) all.push_back(std::move(moved));
        moved_.clear();
        return all;
    }
    std::size_t count() const {
        const std::lock_guard lock(mutex_);
        return moved_.size();
    }

    // One could not be noted: everything is looked at once more.
    void lose() { lost_ = true; }
    bool lost() const { return lost_; }
    bool take_lost() { return lost_.exchange(false); }

    // Lower inodes that the walk under way is done with, or that were made since it began. Nothing
    // old comes into such a directory any more but by a move, which is noted; and a number that
    // something else gets is that of something new.
    bool is_walked(std::uint64_t ino) const {
        const std::lock_guard lock(mutex_);
        return walked_.contains(ino);
    }
    void note_walked(std::uint64_t ino) {
        const std::lock_guard lock(mutex_);
        walked_.insert(ino);
    }
    void forget_walked() {
        const std::lock_guard lock(mutex_);
        walked_ = {};
    }

  private:
    mutable std::mutex mutex_;
    using Key = std::tuple<NodeId, NodeId, std::string>;
    std::map<Key, Moved> moved_;
    std::unordered_set<std::uint64_t> walked_;
    std::atomic<bool> lost_{false};
};

// But for what has locks of its own, it changes while nobody is in the gate.
struct RotationState {
    bool possible = false;      // the mount writes, and its volume is of format 1
    Format1* format = nullptr;  // the file system's, if it is that
    std::shared_ptr<Resealing> resealing;
    bool notes_moves = false;
    bool steady_listings = false;
    RotationNotes notes;
    std::mutex xattr_renewal;  // held over its lower calls
    ListingSnapshots snapshots;
    // Given when a rotation begins, and nobody else's: a file system tells each descriptor once
    // that it could not write something, whoever heard of it by others.
    lower::Fd sync_fd;
    // Something that was to be on the disk is in the cache alone, where it looks as if it were
    // done. THREADS: any.
    std::atomic<bool> lost_writes{false};

    // While keys are rotated: nobody lifts a mode and puts it back meanwhile. Held over lower
    // calls.
    [[nodiscard]] std::unique_lock<std::mutex> steady_mode() {
        std::unique_lock lock(xattr_renewal, std::defer_lock);
        if (resealing) lock.lock();
        return lock;
    }
};

}  // namespace extencfs::core
