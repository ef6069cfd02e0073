// SPDX-License-Identifier: Apache-2.0
// Internal to core: what a file system keeps for rotations of keys beside its operations (ADR
// 0014).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "encfs/core/inode_table.h"
#include "encfs/core/listing_snapshots.h"
#include "encfs/core/rotation.h"
#include "encfs/core/types.h"

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
    };
    void add(Moved moved) {
        const std::lock_guard lock(mutex_);
        moved_.push_back(std::move(moved));
    }
    std::optional<Moved> take_last() {
        const std::lock_guard lock(mutex_);
        if (moved_.empty()) return std::nullopt;
        std::optional<Moved> last(std::move(moved_.back()));
        moved_.pop_back();
        return last;
    }
    std::vector<Moved> take_all() {
        const std::lock_guard lock(mutex_);
        return std::exchange(moved_, {});
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
    std::vector<Moved> moved_;
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

    // While keys are rotated: nobody lifts a mode and puts it back meanwhile. Held over lower
    // calls.
    [[nodiscard]] std::unique_lock<std::mutex> steady_mode() {
        std::unique_lock lock(xattr_renewal, std::defer_lock);
        if (resealing) lock.lock();
        return lock;
    }
};

}  // namespace extencfs::core
