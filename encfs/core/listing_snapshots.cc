// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/listing_snapshots.h"

#include <algorithm>
#include <array>
#include <functional>

#include "crypto/random.h"

namespace extencfs::core {
namespace {

constexpr std::uint64_t kIdMask = (std::uint64_t{1} << 36) - 1;

std::uint64_t random_id() {
    std::array<std::byte, 8> bytes{};
    // Without randomness the next number will do: they must differ, nothing more.
    static std::uint64_t counter = 0;
    if (!crypto::fill_random(bytes)) return ++counter & kIdMask;
    std::uint64_t id = 0;
    for (const std::byte byte : bytes) id = id << 8 | std::to_integer<std::uint64_t>(byte);
    return id & kIdMask;
}

}  // namespace

ListingSnapshots::Place ListingSnapshots::begin(NodeId directory, ListingSnapshot snapshot) {
    auto kept = std::make_shared<const ListingSnapshot>(std::move(snapshot));
    const std::lock_guard lock(mutex_);
    std::uint64_t id = 0;
    while (id == 0 || id == kIdMask || by_id_.contains(id) || forgotten_.contains(id))
        id = random_id();
    keep_locked({kept, id, directory});
    return {std::move(kept), id, 0};
}

ListingSnapshots::Known ListingSnapshots::find(NodeId directory, std::uint64_t cookie,
                                               Place& place) {
    if (cookie >> 62 != 1) return Known::kNo;
    const std::uint64_t id = cookie >> kPlaceBits & kIdMask;
    const std::lock_guard lock(mutex_);
    if (const auto it = by_id_.find(id); it != by_id_.end()) {
        if (it->second->directory != directory) return Known::kNo;
        kept_.splice(kept_.end(), kept_, it->second);
        const std::uint64_t next = cookie & ((std::uint64_t{1} << kPlaceBits) - 1);
        place = {it->second->snapshot, id, static_cast<std::size_t>(next)};
        return Known::kYes;
    }
    const auto gone = forgotten_.find(id);
    return gone != forgotten_.end() && gone->second == directory ? Known::kForgotten : Known::kNo;
}

void ListingSnapshots::keep_order(NodeId directory, ListingSnapshot snapshot) {
    auto kept = std::make_shared<const ListingSnapshot>(std::move(snapshot));
    const std::lock_guard lock(mutex_);
    if (const auto it = orders_.find(directory); it != orders_.end()) drop_locked(it->second);
    forgotten_orders_.erase(directory);
    keep_locked({std::move(kept), 0, directory});
}

ListingSnapshots::Known ListingSnapshots::continued(NodeId directory, std::uint64_t lower_cookie,
                                                    Place& place) const {
    using Item = ListingSnapshot::Item;
    const std::lock_guard lock(mutex_);
    const auto it = orders_.find(directory);
    if (it == orders_.end())
        return forgotten_orders_.contains(directory) ? Known::kForgotten : Known::kNo;
    const auto& items = it->second->snapshot->items;
    auto next = std::ranges::find(items, lower_cookie, &Item::lower_cookie);
    if (next != items.end()) {
        ++next;
    } else {
        // What it was at was removed, or is no name of ours; or something came to lie after it.
        next = std::ranges::find(items, lower_cookie, &Item::position);
        if (next == items.end()) {
            // The listing below would go on at the next one, where its positions have an order.
            if (std::ranges::is_sorted(items, {}, &Item::position))
                next = std::ranges::lower_bound(items, lower_cookie, {}, &Item::position);
            else if (std::ranges::is_sorted(items, std::greater(), &Item::position))
                next =
                    std::ranges::lower_bound(items, lower_cookie, std::greater(), &Item::position);
            else
                return Known::kForgotten;
        }
    }
    place = {it->second->snapshot, 0, static_cast<std::size_t>(next - items.begin())};
    return Known::kYes;
}

void ListingSnapshots::forget() {
    const std::lock_guard lock(mutex_);
    while (!kept_.empty()) drop_locked(kept_.begin());
    forgotten_orders_ = {};
}

void ListingSnapshots::keep_locked(Kept kept) {
    names_ += kept.weight();
    kept_.push_back(std::move(kept));
    const auto it = std::prev(kept_.end());
    if (it->id != 0)
        by_id_[it->id] = it;
    else
        orders_[it->directory] = it;
    while (names_ > kMostNames && kept_.begin() != it) drop_locked(kept_.begin());
}

void ListingSnapshots::drop_locked(std::list<Kept>::iterator it) {
    names_ -= it->weight();
    if (it->id != 0) {
        by_id_.erase(it->id);
        forgotten_.emplace(it->id, it->directory);
        forgotten_ids_.push_back(it->id);
        if (forgotten_ids_.size() > kMostForgotten) {
            forgotten_.erase(forgotten_ids_.front());
            forgotten_ids_.pop_front();
        }
    } else {
        orders_.erase(it->directory);
        forgotten_orders_.insert(it->directory);
    }
    kept_.erase(it);
}

}  // namespace extencfs::core
