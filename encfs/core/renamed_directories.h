// SPDX-License-Identifier: Apache-2.0
// Internal to core: where directories were renamed to since a sync, and lie validly at their old
// places too (FORMAT.md "Directories").
#pragma once

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "encfs/core/inode_table.h"

namespace extencfs::core {

// THREADS: any. LOCKS: one mutex, a leaf.
class RenamedDirectories {
  public:
    void add(Location to) {
        const std::lock_guard lock(mutex_);
        all_.push_back(std::move(to));
    }
    void put_back(const std::vector<Location>& taken) {
        const std::lock_guard lock(mutex_);
        all_.insert(all_.end(), taken.begin(), taken.end());
    }
    std::vector<Location> take() {
        const std::lock_guard lock(mutex_);
        return std::exchange(all_, {});
    }
    std::size_t count() const {
        const std::lock_guard lock(mutex_);
        return all_.size();
    }
    bool contains(const Location& location) const {
        const std::lock_guard lock(mutex_);
        return std::ranges::any_of(all_, [&](const Location& one) {
            return one.parent == location.parent && one.entry == location.entry;
        });
    }
    // Takes those out of `locations` to which something was renamed.
    void remove_from(std::vector<Location>& locations) const {
        const std::lock_guard lock(mutex_);
        std::set<std::pair<NodeId, std::string_view>> again;
        for (const Location& one : all_) again.insert({one.parent, one.entry});
        std::erase_if(locations, [&](const Location& one) {
            return again.contains({one.parent, one.entry});
        });
    }

  private:
    mutable std::mutex mutex_;
    std::vector<Location> all_;
};

}  // namespace extencfs::core
