// SPDX-License-Identifier: Apache-2.0
// A bounded cache of open things by node, least recently used out first. What is in use elsewhere
// is never put out, so that one node has one object.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "encfs/core/types.h"

namespace extencfs::core {

// THREADS: any. LOCKS: its own mutex. `before_close` runs under it, so that nobody can open the
// node anew before the old object is done with; the object itself dies outside it.
template <typename T>
class HandleCache {
  public:
    // `capacity`: objects kept that nobody uses. `before_close` is called with each one before it
    // is put out; false: it has to stay.
    HandleCache(std::size_t capacity, std::function<bool(T&)> before_close)
        : capacity_(capacity), before_close_(std::move(before_close)) {}

    std::shared_ptr<T> find(NodeId node) {
        std::lock_guard lock(mutex_);
        auto it = entries_.find(node);
        if (it == entries_.end()) return nullptr;
        order_.splice(order_.begin(), order_, it->second.place);
        return it->second.object;
    }

    // Keeps `object`, unless the node has one already: returns the one that counts.
    std::shared_ptr<T> insert(NodeId node, std::shared_ptr<T> object) {
        std::vector<std::shared_ptr<T>> victims;
        {
            std::lock_guard lock(mutex_);
            auto [it, inserted] = entries_.try_emplace(node);
            if (!inserted) return it->second.object;
            order_.push_front(node);
            it->second = Entry{object, order_.begin()};
            evict_locked(victims);
        }
        return object;
    }

    // Takes it out; empty when there was none. The caller closes it.
    std::shared_ptr<T> remove(NodeId node) {
        std::lock_guard lock(mutex_);
        auto it = entries_.find(node);
        if (it == entries_.end()) return nullptr;
        auto object = std::move(it->second.object);
        order_.erase(it->second.place);
        entries_.erase(it);
        return object;
    }

    // Takes it out only if nobody uses it; with before_close.
    void remove_if_unused(NodeId node) {
        std::shared_ptr<T> object;
        std::lock_guard lock(mutex_);
        auto it = entries_.find(node);
        if (it == entries_.end() || it->second.object.use_count() != 1) return;
        if (before_close_ && !before_close_(*it->second.object)) return;
        order_.erase(it->second.place);
        object = std::move(it->second.object);
        entries_.erase(it);
    }

    // Takes everything out, with before_close. False, and what is left stays: something is in use,
    // or has to stay.
    bool clear() {
        std::vector<std::shared_ptr<T>> victims;
        std::lock_guard lock(mutex_);
        for (auto it = entries_.begin(); it != entries_.end();) {
            Entry& entry = it->second;
            if (entry.object.use_count() != 1) return false;
            if (before_close_ && !before_close_(*entry.object)) return false;
            victims.push_back(std::move(entry.object));
            order_.erase(entry.place);
            it = entries_.erase(it);
        }
        return true;
    }

    // Everything that is in the cache now, without changing the order.
    std::vector<std::shared_ptr<T>> all() {
        std::lock_guard lock(mutex_);
        std::vector<std::shared_ptr<T>> out;
        out.reserve(entries_.size());
        for (auto& [node, entry] : entries_) out.push_back(entry.object);
        return out;
    }

    std::vector<std::pair<NodeId, std::shared_ptr<T>>> all_with_nodes() {
        std::lock_guard lock(mutex_);
        std::vector<std::pair<NodeId, std::shared_ptr<T>>> out;
        out.reserve(entries_.size());
        for (auto& [node, entry] : entries_) out.emplace_back(node, entry.object);
        return out;
    }

  private:
    struct Entry {
        std::shared_ptr<T> object;
        std::list<NodeId>::iterator place;
    };

    void evict_locked(std::vector<std::shared_ptr<T>>& victims) {
        auto place = order_.end();
        std::size_t looked_at = 0;
        while (entries_.size() > capacity_ && place != order_.begin() && looked_at++ < 64) {
            --place;
            auto it = entries_.find(*place);
            // Invariant: whoever else holds a reference got it under mutex_, so 1 means nobody.
            if (it->second.object.use_count() != 1) continue;
            if (before_close_ && !before_close_(*it->second.object)) continue;
            victims.push_back(std::move(it->second.object));
            entries_.erase(it);
            place = order_.erase(place);
        }
    }

    const std::size_t capacity_;
    std::function<bool(T&)> before_close_;
    std::mutex mutex_;
    std::list<NodeId> order_;  // most recently used first
    std::unordered_map<NodeId, Entry> entries_;
};

}  // namespace extencfs::core
