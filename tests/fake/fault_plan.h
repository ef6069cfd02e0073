// SPDX-License-Identifier: Apache-2.0
// Counts the calls of a FaultLowerFs and says which of them fail.
// THREADS: any, in parallel.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace extencfs::fake {

// Which calls a count is of: all; those that change something, or sync it; those of one name.
struct Calls {
    enum class Kind { kAny, kMutating, kNamed };
    Kind kind = Kind::kMutating;
    std::string name = {};

    static Calls any() { return {Kind::kAny}; }
    static Calls mutating() { return {Kind::kMutating}; }
    static Calls named(std::string name) { return {Kind::kNamed, std::move(name)}; }
};

// How a pwrite or pwritev is torn: the bytes that it still writes, and what comes then.
struct Tear {
    enum class Then { kNoSpace, kDie };
    std::uint64_t bytes;
    Then then;
};

class FaultPlan {
  public:
    // What the call at hand is to do: fail with `error` unless 0; else be torn, or go on.
    struct Verdict {
        int error = 0;
        std::optional<Tear> tear = {};
    };
    Verdict enter(std::string_view call, bool mutating);

    // n counts from the call: 1 is the next one. Each happens once.
    void fail_at(std::uint64_t n, int error, Calls which);
    void tear_at(std::uint64_t n, Tear tear);
    void die_at(std::uint64_t n);
    void die();
    bool dead() const;
    // No plans, alive.
    void reset();

    std::uint64_t count(const Calls& which) const;
    std::vector<std::string> calls() const;
    void forget_calls();

  private:
    struct Made {
        std::string_view name;  // of a literal
        bool mutating;
    };
    struct Failure {
        std::uint64_t left;
        int error;
        Calls which;
    };
    struct PlannedTear {
        std::uint64_t left;
        Tear tear;
    };
    static bool is(const Made& made, const Calls& which);

    mutable std::mutex mutex_;
    std::vector<Made> made_;
    std::vector<Failure> failures_;
    std::vector<PlannedTear> tears_;
    std::optional<std::uint64_t> dies_in_;
    bool dead_ = false;
};

}  // namespace extencfs::fake
