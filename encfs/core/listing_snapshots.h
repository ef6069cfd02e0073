// SPDX-License-Identifier: Apache-2.0
// Listings while lower names change under them: what a directory held when a listing of it began,
// so that every name that stays is told exactly once (ADR 0014).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "encfs/core/types.h"

namespace extencfs::core {

struct ListingSnapshot {
    struct Item {
        std::string name;  // plain
        std::uint64_t ino = 0;
        unsigned char type = 0;
        // Of an order that was kept: where the listing below was before the entry, and after it.
        std::uint64_t position = 0;
        std::uint64_t lower_cookie = 0;
    };
    std::vector<Item> items;
};

// Cookies of ours name a snapshot and a place in it: bit 62, 36 random bits, 26 bits. A lower file
// system's own are small numbers or hashes, which meet one of ours of the same directory once in
// billions.
// THREADS: any. LOCKS: one mutex, a leaf.
class ListingSnapshots {
  public:
    using Snapshot = std::shared_ptr<const ListingSnapshot>;
    struct Place {
        Snapshot snapshot;
        std::uint64_t id = 0;
        std::size_t next = 0;
    };

    // A listing that begins. Its cookies: cookie_of(). REQUIRES: fewer than 2^26 names.
    Place begin(NodeId directory, ListingSnapshot snapshot);
    static constexpr unsigned kPlaceBits = 26;
    static std::uint64_t cookie_of(std::uint64_t id, std::size_t next) {
        return std::uint64_t{1} << 62 | id << kPlaceBits | next;
    }
    enum class Known : std::uint8_t { kNo, kYes, kForgotten };
    // kForgotten: a cookie of ours, of that directory, whose snapshot had to go.
    Known find(NodeId directory, std::uint64_t cookie, Place& place);

    // The lower order of a directory whose lower names are about to change, for the listings that
    // began before there were snapshots.
    void keep_order(NodeId directory, ListingSnapshot snapshot);
    // Where such a listing goes on, also when the entry it was at is gone. kForgotten: the order
    // had to go. kNo: none was kept.
    Known continued(NodeId directory, std::uint64_t lower_cookie, Place& place) const;
    // All of them, and that there were orders; the cookies of the last hundred thousand snapshots
    // that went stay known as ours.
    void forget();

  private:
    struct Kept {
        Snapshot snapshot;
        std::uint64_t id = 0;  // 0: an order
        NodeId directory = 0;
        // What it counts for: an empty one takes memory as well.
        std::size_t weight() const { return snapshot->items.size() + 1; }
    };
    void keep_locked(Kept kept);
    void drop_locked(std::list<Kept>::iterator it);

    static constexpr std::size_t kMostNames = 1'000'000;
    static constexpr std::size_t kMostForgotten = 100'000;
    mutable std::mutex mutex_;
    std::list<Kept> kept_;  // the one that was used longest ago first
    std::size_t names_ = 0;
    std::unordered_map<std::uint64_t, std::list<Kept>::iterator> by_id_;
    std::unordered_map<NodeId, std::list<Kept>::iterator> orders_;
    std::unordered_set<NodeId> forgotten_orders_;
    std::unordered_map<std::uint64_t, NodeId> forgotten_;
    std::deque<std::uint64_t> forgotten_ids_;  // oldest first
};

}  // namespace extencfs::core
