// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/range_lock.h"

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <future>
#include <optional>
#include <random>
#include <thread>
#include <vector>

using namespace extencfs::core;
using namespace std::chrono_literals;

namespace {

constexpr auto kShared = RangeAccess::kShared;
constexpr auto kExclusive = RangeAccess::kExclusive;

// A range that another thread asks for and lets go when it is told.
class Other {
  public:
    Other(RangeLock& lock, std::uint64_t first, std::uint64_t last, RangeAccess access)
        : thread_([=, this, &lock] {
              const auto held = lock.acquire(first, last, access);
              got_ = true;
              got_.notify_all();
              let_go_.wait(false);
          }) {}
    ~Other() {
        let_go();
        thread_.join();
    }
    bool has_it() const { return got_; }
    bool gets_it() {
        for (int i = 0; i < 5000 && !got_; ++i) std::this_thread::sleep_for(1ms);
        return got_;
    }
    bool stays_out() {
        std::this_thread::sleep_for(20ms);
        return !got_;
    }
    void let_go() {
        let_go_ = true;
        let_go_.notify_all();
    }

  private:
    std::atomic<bool> got_{false};
    std::atomic<bool> let_go_{false};
    std::thread thread_;
};

}  // namespace

TEST_CASE("disjoint ranges are held side by side") {
    RangeLock lock;
    const auto low = lock.acquire(0, 9, kExclusive);
    Other high(lock, 10, 19, kExclusive);
    CHECK(high.gets_it());
    Other edge(lock, 20, RangeLock::kWholeFile, kShared);
    CHECK(edge.gets_it());
}

TEST_CASE("readers share, a writer waits for them") {
    RangeLock lock;
    Other first(lock, 0, 100, kShared), second(lock, 50, 60, kShared);
    CHECK(first.gets_it());
    CHECK(second.gets_it());
    Other writer(lock, 55, 55, kExclusive);
    CHECK(writer.stays_out());
    first.let_go();
    CHECK(writer.stays_out());
    second.let_go();
    CHECK(writer.gets_it());
}

TEST_CASE("the last byte of one range and the first of the next conflict only where they are one") {
    RangeLock lock;
    std::optional<RangeLock::Held> held(lock.acquire(10, 20, kExclusive));
    Other before(lock, 0, 9, kExclusive), touching(lock, 20, 30, kShared);
    CHECK(before.gets_it());
    CHECK(touching.stays_out());
    held.reset();
    CHECK(touching.gets_it());
}

TEST_CASE("overlapping ranges are given in the order of arrival") {
    RangeLock lock;
    std::optional<RangeLock::Held> held(lock.acquire(0, 10, kShared));
    Other writer(lock, 5, 5, kExclusive);
    CHECK(writer.stays_out());
    // A reader does not overtake the writer that waits, so that writers are not starved.
    Other reader(lock, 0, 10, kShared);
    CHECK(reader.stays_out());
    Other elsewhere(lock, 20, 30, kExclusive);
    CHECK(elsewhere.gets_it());
    held.reset();
    CHECK(writer.gets_it());
    CHECK(reader.stays_out());
    writer.let_go();
    CHECK(reader.gets_it());
}

TEST_CASE("a held range can be handed on") {
    RangeLock lock;
    std::optional<RangeLock::Held> outer;
    {
        auto inner = lock.acquire_whole();
        outer.emplace(std::move(inner));
    }
    Other other(lock, 3, 3, kShared);
    CHECK(other.stays_out());
    outer.reset();
    CHECK(other.gets_it());
}

TEST_CASE("nobody is in an exclusive range with another") {
    RangeLock lock;
    constexpr std::size_t kCells = 16;
    std::array<std::atomic<int>, kCells> readers{}, writers{};
    std::atomic<int> faults{0};
    auto work = [&](unsigned seed) {
        std::mt19937 random(seed);
        for (int i = 0; i < 1500; ++i) {
            std::size_t a = random() % kCells, b = random() % kCells;
            if (a > b) std::swap(a, b);
            const bool write = random() % 2 == 0;
            const bool whole = random() % 16 == 0;
            const auto held =
                whole ? lock.acquire_whole() : lock.acquire(a, b, write ? kExclusive : kShared);
            if (whole) a = 0, b = kCells - 1;
            for (std::size_t c = a; c <= b; ++c) {
                if (write || whole) {
                    if (++writers[c] != 1 || readers[c] != 0) ++faults;
                } else {
                    ++readers[c];
                    if (writers[c] != 0) ++faults;
                }
            }
            if (i % 64 == 0) std::this_thread::yield();
            for (std::size_t c = a; c <= b; ++c) (write || whole ? writers : readers)[c]--;
        }
    };
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < 4; ++t) threads.emplace_back(work, t);
    for (auto& thread : threads) thread.join();
    CHECK(faults == 0);
}
