// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/delegation_ledger.h"

#include <array>
#include <catch2/catch.hpp>
#include <set>

using namespace extencfs::daemon;
using namespace std::chrono_literals;

namespace {

const DelegationLedger::Time kStart{};

struct Limited {
    DelegationLimits limits{.user_mounts = 2, .user_bytes = 100, .total_bytes = 150};
    DelegationLedger ledger{limits};
};

}  // namespace

TEST_CASE("mounts of a user are limited, those of others are not concerned") {
    Limited l;
    const auto first = l.ledger.admit(1, kStart), second = l.ledger.admit(1, kStart);
    REQUIRE((first && second));
    CHECK_FALSE(l.ledger.admit(1, kStart));
    CHECK(l.ledger.admit(2, kStart));
    l.ledger.ended(*first);
    CHECK(l.ledger.admit(1, kStart));
}

TEST_CASE("bytes are limited for each user, and for all together") {
    Limited l;
    const auto first = l.ledger.admit(1, kStart), second = l.ledger.admit(1, kStart);
    const auto other = l.ledger.admit(2, kStart);
    CHECK_FALSE(l.ledger.reserve(*first, 101));
    CHECK(l.ledger.reserve(*first, 60));
    CHECK_FALSE(l.ledger.reserve(*second, 41));
    CHECK(l.ledger.reserve(*second, 40));
    CHECK_FALSE(l.ledger.reserve(*other, 51));
    CHECK_FALSE(l.ledger.reserve(*other, UINT64_MAX));
    CHECK(l.ledger.reserve(*other, 50));
    CHECK_FALSE(l.ledger.reserve(*other, 1));  // once
    CHECK_FALSE(l.ledger.reserve(12345, 1));
    CHECK(l.ledger.bytes() == 150);
}

TEST_CASE("what a user still holds counts after the connection has ended") {
    Limited l;
    std::set<DelegationLedger::MapId> existing{7, 8};
    const auto exists = [&](DelegationLedger::MapId id) { return existing.contains(id); };
    const auto ticket = l.ledger.admit(1, kStart);
    REQUIRE(l.ledger.reserve(*ticket, 100));
    l.ledger.handed_out(*ticket, std::array<DelegationLedger::MapId, 2>{7, 8});
    l.ledger.sweep([](auto) { return false; });  // nothing that goes on is swept
    CHECK(l.ledger.places() == 1);
    l.ledger.ended(*ticket);
    existing.erase(7);
    l.ledger.sweep(exists);
    CHECK(l.ledger.lingering() == 1);
    const auto next = l.ledger.admit(1, kStart);
    REQUIRE(next);
    CHECK_FALSE(l.ledger.reserve(*next, 1));
    CHECK_FALSE(l.ledger.admit(1, kStart));
    existing.clear();
    l.ledger.sweep(exists);
    CHECK(l.ledger.lingering() == 0);
    CHECK(l.ledger.reserve(*next, 100));
}

TEST_CASE("mounts that follow each other fast are slowed down") {
    DelegationLedger ledger(DelegationLimits{});
    const auto once = [&](uid_t user, DelegationLedger::Time now) {
        const auto ticket = ledger.admit(user, now);
        if (ticket) ledger.ended(*ticket);
        return ticket.has_value();
    };
    for (unsigned i = 0; i < DelegationLedger::kBurst; ++i) REQUIRE(once(1, kStart));
    CHECK_FALSE(once(1, kStart));
    CHECK(once(2, kStart));
    CHECK_FALSE(once(1, kStart + 900ms));
    CHECK(once(1, kStart + 1100ms));
    CHECK_FALSE(once(1, kStart + 1200ms));
    for (unsigned i = 0; i < DelegationLedger::kBurst; ++i) REQUIRE(once(1, kStart + 1h));
    CHECK(ledger.places() == 0);
}
