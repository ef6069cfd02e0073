// SPDX-License-Identifier: Apache-2.0
// Who may have how much of the kernel fast path that a service loads for others: places, bytes, and
// how fast one may follow another. Plain bookkeeping; the caller says what time it is and which
// maps exist. THREADS: one.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace extencfs::daemon {

struct DelegationLimits {
    unsigned user_mounts = 16;
    std::uint64_t user_bytes = 256ULL << 20;
    std::uint64_t total_bytes = 1024ULL << 20;
    unsigned total_mounts = 512;
};

class DelegationLedger {
  public:
    using Time = std::chrono::steady_clock::time_point;
    using Ticket = std::uint64_t;
    using MapId = std::uint32_t;
    // So many at once, and then one for each interval, for each user: loading takes time.
    static constexpr unsigned kBurst = 32;
    static constexpr std::chrono::seconds kInterval{1};

    explicit DelegationLedger(const DelegationLimits& limits) : limits_(limits) {}

    // A place for one more mount of that user. ERRORS: a sentence for the user.
    std::expected<Ticket, std::string> admit(uid_t user, Time now);
    // Its memory. REQUIRES: an admitted ticket that did not end. ERRORS: likewise; also if it has
    // memory already.
    std::expected<void, std::string> reserve(Ticket ticket, std::uint64_t bytes);
    // The maps that the user holds from now on, whatever becomes of the connection.
    void handed_out(Ticket ticket, std::span<const MapId> maps);
    // The connection has ended. Place and memory count on until sweep() finds the maps gone.
    void ended(Ticket ticket);
    void sweep(const std::function<bool(MapId)>& exists);

    // Places that count though their connection has ended.
    std::size_t lingering() const;
    std::size_t places() const { return entries_.size(); }
    std::uint64_t bytes() const;

  private:
    struct Entry {
        uid_t user;
        std::uint64_t bytes = 0;
        std::vector<MapId> maps;
        bool ended = false;
    };
    struct Allowance {
        double left;
        Time since;
    };
    bool may_start(uid_t user, Time now);

    const DelegationLimits limits_;
    std::map<Ticket, Entry> entries_;
    std::map<uid_t, Allowance> allowances_;  // of those who used some of it
    Ticket last_ = 0;
};

}  // namespace extencfs::daemon
