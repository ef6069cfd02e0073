// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/delegation_ledger.h"

#include <algorithm>

namespace extencfs::daemon {
namespace {

std::string megabytes(std::uint64_t bytes) {
    return std::to_string(bytes >> 20) + " MB";
}

std::unexpected<std::string> because(std::string reason) {
    return std::unexpected(std::move(reason));
}

}  // namespace

bool DelegationLedger::may_start(uid_t user, Time now) {
    const double since_full = kBurst;
    std::erase_if(allowances_, [&](const auto& one) {
        const std::chrono::duration<double> passed = now - one.second.since;
        return one.second.left + passed / kInterval >= since_full;
    });
    const auto [found, fresh] = allowances_.try_emplace(user, Allowance{since_full, now});
    Allowance& allowance = found->second;
    const std::chrono::duration<double> passed = now - allowance.since;
    allowance.left = std::min(allowance.left + passed / kInterval, since_full);
    allowance.since = now;
    if (allowance.left < 1) return false;
    allowance.left -= 1;
    return true;
}

std::expected<DelegationLedger::Ticket, std::string> DelegationLedger::admit(uid_t user, Time now) {
    if (!may_start(user, now)) return because("too many mounts of this user in a short time");
    const auto of_user = std::ranges::count_if(
        entries_, [user](const auto& entry) { return entry.second.user == user; });
    if (static_cast<std::uint64_t>(of_user) >= limits_.user_mounts)
        return because("this user has " + std::to_string(limits_.user_mounts) +
                       " mounts with the kernel fast path, more are not allowed");
    if (entries_.size() >= limits_.total_mounts)
        return because("there are " + std::to_string(limits_.total_mounts) +
                       " mounts with the kernel fast path, more are not allowed");
    entries_.emplace(++last_, Entry{user, 0, {}, false});
    return last_;
}

std::expected<void, std::string> DelegationLedger::reserve(Ticket ticket, std::uint64_t bytes) {
    const auto found = entries_.find(ticket);
    if (found == entries_.end() || found->second.bytes != 0)
        return because("it has memory already");
    std::uint64_t of_user = 0;
    for (const auto& [number, entry] : entries_)
        if (entry.user == found->second.user) of_user += entry.bytes;
    const auto over = [bytes](std::uint64_t used, std::uint64_t limit) {
        return bytes > limit || used > limit - bytes;
    };
    if (over(of_user, limits_.user_bytes))
        return because("this user's mounts may have " + megabytes(limits_.user_bytes) +
                       " of maps together (see --map-mb)");
    if (over(this->bytes(), limits_.total_bytes))
        return because("all mounts may have " + megabytes(limits_.total_bytes) +
                       " of maps together (see --map-mb)");
    found->second.bytes = bytes;
    return {};
}

void DelegationLedger::handed_out(Ticket ticket, std::span<const MapId> maps) {
    const auto found = entries_.find(ticket);
    if (found != entries_.end()) found->second.maps.assign(maps.begin(), maps.end());
}

void DelegationLedger::ended(Ticket ticket) {
    const auto found = entries_.find(ticket);
    if (found == entries_.end()) return;
    found->second.ended = true;
    if (found->second.maps.empty()) entries_.erase(found);
}

void DelegationLedger::sweep(const std::function<bool(MapId)>& exists) {
    std::erase_if(entries_, [&](const auto& entry) {
        return entry.second.ended && std::ranges::none_of(entry.second.maps, exists);
    });
}

std::size_t DelegationLedger::lingering() const {
    return std::ranges::count_if(entries_, [](const auto& entry) { return entry.second.ended; });
}

std::uint64_t DelegationLedger::bytes() const {
    std::uint64_t sum = 0;
    for (const auto& [number, entry] : entries_) sum += entry.bytes;
    return sum;
}

}  // namespace extencfs::daemon
