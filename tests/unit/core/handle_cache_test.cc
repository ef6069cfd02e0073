// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/handle_cache.h"

#include <catch2/catch.hpp>

#include <atomic>
#include <set>
#include <thread>

using namespace extencfs::core;

namespace {

struct Thing {
    explicit Thing(NodeId id, std::set<NodeId>* dead = nullptr) : node(id), dead_(dead) {}
    ~Thing() {
        if (dead_ != nullptr) dead_->insert(node);
    }
    Thing(const Thing&) = delete;
    Thing& operator=(const Thing&) = delete;
    NodeId node;

  private:
    std::set<NodeId>* dead_;
};

}  // namespace

TEST_CASE("the least recently used goes first") {
    std::set<NodeId> dead;
    HandleCache<Thing> cache(3, nullptr);
    for (NodeId n : {1, 2, 3}) cache.insert(n, std::make_shared<Thing>(n, &dead));
    CHECK(cache.find(1));
    cache.insert(4, std::make_shared<Thing>(4, &dead));
    CHECK(dead == std::set<NodeId>{2});
    cache.insert(5, std::make_shared<Thing>(5, &dead));
    CHECK(dead == std::set<NodeId>{2, 3});
    CHECK(cache.find(1));
    CHECK_FALSE(cache.find(2));
}

TEST_CASE("what is in use stays, beyond the capacity too") {
    std::set<NodeId> dead;
    HandleCache<Thing> cache(2, nullptr);
    std::vector<std::shared_ptr<Thing>> used;
    for (NodeId n = 1; n <= 5; ++n)
        used.push_back(cache.insert(n, std::make_shared<Thing>(n, &dead)));
    CHECK(dead.empty());
    for (NodeId n = 1; n <= 5; ++n) CHECK(cache.find(n) == used[n - 1]);
    used.clear();
    cache.insert(6, std::make_shared<Thing>(6, &dead));
    CHECK(cache.all().size() == 2);
    CHECK(cache.find(6));
}

TEST_CASE("one node has one object") {
    HandleCache<Thing> cache(4, nullptr);
    const auto first = cache.insert(1, std::make_shared<Thing>(1));
    const auto second = cache.insert(1, std::make_shared<Thing>(1));
    CHECK(first == second);
    CHECK(cache.remove(1) == first);
    CHECK_FALSE(cache.remove(1));
    CHECK_FALSE(cache.find(1));
}

TEST_CASE("what must not be closed yet stays") {
    std::set<NodeId> dead, asked;
    bool may_go = false;
    HandleCache<Thing> cache(1, [&](Thing& thing) {
        asked.insert(thing.node);
        return may_go;
    });
    cache.insert(1, std::make_shared<Thing>(1, &dead));
    cache.insert(2, std::make_shared<Thing>(2, &dead));
    CHECK(asked.contains(1));
    CHECK(dead.empty());
    cache.remove_if_unused(1);
    CHECK(dead.empty());
    may_go = true;
    cache.remove_if_unused(1);
    CHECK(dead == std::set<NodeId>{1});
    CHECK(cache.find(2));
}

TEST_CASE("remove_if_unused leaves what is used") {
    HandleCache<Thing> cache(4, nullptr);
    auto used = cache.insert(1, std::make_shared<Thing>(1));
    cache.remove_if_unused(1);
    cache.remove_if_unused(2);
    CHECK(cache.find(1) == used);
    used.reset();
    cache.remove_if_unused(1);
    CHECK_FALSE(cache.find(1));
}

TEST_CASE("an object dies outside the lock") {
    struct Caller {
        HandleCache<Caller>* cache;
        ~Caller() { (void)cache->find(99); }  // would deadlock
    };
    HandleCache<Caller> cache(1, nullptr);
    cache.insert(1, std::make_shared<Caller>(Caller{&cache}));
    cache.insert(2, std::make_shared<Caller>(Caller{&cache}));
    cache.remove_if_unused(2);
    (void)cache.remove(2);
    CHECK(cache.all().empty());
}

TEST_CASE("threads that find, insert and remove get one object for each node") {
    std::atomic<int> alive{0}, faults{0};
    struct Counted {
        std::atomic<int>& n;
        NodeId node;
        Counted(std::atomic<int>& count, NodeId id) : n(count), node(id) { ++n; }
        ~Counted() { --n; }
    };
    {
        HandleCache<Counted> cache(8, [](Counted&) { return true; });
        auto work = [&](unsigned seed) {
            for (unsigned i = 0; i < 3000; ++i) {
                const NodeId node = (seed * 7919 + i * 31) % 24;
                auto got = cache.find(node);
                if (!got) got = cache.insert(node, std::make_shared<Counted>(alive, node));
                if (got->node != node) ++faults;
                if (cache.find(node) != got && i % 5 != 0) {
                    // Only a removal by another thread comes between.
                    if (cache.insert(node, got)->node != node) ++faults;
                }
                got.reset();
                if (i % 5 == 0) cache.remove_if_unused(node);
            }
        };
        std::vector<std::thread> threads;
        for (unsigned t = 0; t < 4; ++t) threads.emplace_back(work, t);
        for (auto& thread : threads) thread.join();
        CHECK(cache.all().size() <= 8 + 4);
    }
    CHECK(faults == 0);
    CHECK(alive == 0);
}
