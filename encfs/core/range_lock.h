// SPDX-License-Identifier: Apache-2.0
// Locks ranges of a file: disjoint ranges in parallel, overlapping ones in the order of arrival.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <mutex>

namespace extencfs::core {

enum class RangeAccess { kShared, kExclusive };

// THREADS: any. LOCKS: a thread holds one range of a file at a time (two would deadlock);
// in the order of LOCKING.md it is "file range".
class RangeLock {
  public:
    static constexpr std::uint64_t kWholeFile = ~std::uint64_t{0};

    class Held {
      public:
        ~Held() {
            if (lock_ != nullptr) lock_->release(where_);
        }
        Held(Held&& other) noexcept : lock_(other.lock_), where_(other.where_) {
            other.lock_ = nullptr;
        }
        Held(const Held&) = delete;
        Held& operator=(const Held&) = delete;
        Held& operator=(Held&&) = delete;

      private:
        friend class RangeLock;
        struct Range {
            std::uint64_t first, last;
            RangeAccess access;
            bool conflicts(const Range& o) const {
                return first <= o.last && o.first <= last &&
                       (access == RangeAccess::kExclusive || o.access == RangeAccess::kExclusive);
            }
        };
        Held(RangeLock* lock, std::list<Range>::iterator where) : lock_(lock), where_(where) {}
        RangeLock* lock_;
        std::list<Range>::iterator where_;
    };

    // Waits until nothing that came before overlaps [first, last] (inclusive) in conflict.
    [[nodiscard]] Held acquire(std::uint64_t first, std::uint64_t last, RangeAccess access) {
        std::unique_lock lock(mutex_);
        auto mine = ranges_.insert(ranges_.end(), Held::Range{first, last, access});
        changed_.wait(lock, [&] {
            for (auto it = ranges_.begin(); it != mine; ++it)
                if (it->conflicts(*mine)) return false;
            return true;
        });
        return Held(this, mine);
    }
    [[nodiscard]] Held acquire_whole() { return acquire(0, kWholeFile, RangeAccess::kExclusive); }

  private:
    void release(std::list<Held::Range>::iterator where) {
        bool others;
        {
            std::lock_guard lock(mutex_);
            ranges_.erase(where);
            others = !ranges_.empty();
        }
        if (others) changed_.notify_all();
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::list<Held::Range> ranges_;  // in order of arrival, waiting ones too
};

}  // namespace extencfs::core
