// SPDX-License-Identifier: Apache-2.0
// Internal to core: where directories were renamed to since a sync, and lie validly at their old
// places too (FORMAT.md "Directories").
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "encfs/core/inode_table.h"

namespace extencfs::core {

// THREADS: any. LOCKS: one mutex, a leaf; settling(), before the tree lock.
class RenamedDirectories {
  public:
    struct Place {
        Location location;
        std::uint64_t parent_ino;  // of the lower directory: a node may be another one later
    };
    // Held by who takes them, until what was taken is settled.
    std::mutex& settling() { return settling_; }

    void add(Location to, std::uint64_t parent_ino) {
        const std::lock_guard lock(mutex_);
        all_.push_back({std::move(to), parent_ino});
    }
    void put_back(const std::vector<Place>& taken) {
        const std::lock_guard lock(mutex_);
        all_.insert(all_.end(), taken.begin(), taken.end());
    }
    std::vector<Place> take() {
        const std::lock_guard lock(mutex_);
        return std::exchange(all_, {});
    }
    std::size_t count() const {
        const std::lock_guard lock(mutex_);
        return all_.size();
    }
    bool contains(std::uint64_t parent_ino, std::string_view entry) const {
        const std::lock_guard lock(mutex_);
        return std::ranges::any_of(all_, [&](const Place& one) {
            return one.parent_ino == parent_ino && one.location.entry == entry;
        });
    }
    // Takes those out of `taken` to which something was renamed since.
    void remove_from(std::vector<Place>& taken) const {
        const std::lock_guard lock(mutex_);
        std::set<std::pair<std::uint64_t, std::string_view>> again;
        for (const Place& one : all_) again.insert({one.parent_ino, one.location.entry});
        std::erase_if(taken, [&](const Place& one) {
            return again.contains({one.parent_ino, one.location.entry});
        });
    }

  private:
    std::mutex settling_;
    mutable std::mutex mutex_;
    std::vector<Place> all_;
};

}  // namespace extencfs::core
