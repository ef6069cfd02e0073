// SPDX-License-Identifier: Apache-2.0
#include "tests/fake/fault_plan.h"

#include <algorithm>
#include <cerrno>

namespace extencfs::fake {

bool FaultPlan::is(const Made& made, const Calls& which) {
    switch (which.kind) {
        case Calls::Kind::kAny:
            return true;
        case Calls::Kind::kMutating:
            return made.mutating;
        case Calls::Kind::kNamed:
            return made.name == which.name;
    }
    return false;
}

FaultPlan::Verdict FaultPlan::enter(std::string_view call, bool mutating) {
    const std::lock_guard lock(mutex_);
    const Made made{call, mutating};
    made_.push_back(made);
    if (mutating && dies_in_ && --*dies_in_ == 0) dead_ = true;
    if (dead_) return {EIO};
    Verdict verdict;
    std::erase_if(failures_, [&](Failure& f) {
        if (!is(made, f.which) || --f.left > 0) return false;
        verdict.error = f.error;
        return true;
    });
    if (call != "pwrite" && call != "pwritev") return verdict;
    std::erase_if(tears_, [&](PlannedTear& t) {
        if (--t.left > 0) return false;
        verdict.tear = t.tear;
        return true;
    });
    return verdict;
}

void FaultPlan::fail_at(std::uint64_t n, int error, Calls which) {
    const std::lock_guard lock(mutex_);
    failures_.push_back({std::max<std::uint64_t>(n, 1), error, std::move(which)});
}

void FaultPlan::tear_at(std::uint64_t n, Tear tear) {
    const std::lock_guard lock(mutex_);
    tears_.push_back({std::max<std::uint64_t>(n, 1), tear});
}

void FaultPlan::die_at(std::uint64_t n) {
    const std::lock_guard lock(mutex_);
    dies_in_ = std::max<std::uint64_t>(n, 1);
}

void FaultPlan::die() {
    const std::lock_guard lock(mutex_);
    dead_ = true;
}

bool FaultPlan::dead() const {
    const std::lock_guard lock(mutex_);
    return dead_;
}

void FaultPlan::reset() {
    const std::lock_guard lock(mutex_);
    failures_.clear();
    tears_.clear();
    dies_in_.reset();
    dead_ = false;
}

std::uint64_t FaultPlan::count(const Calls& which) const {
    const std::lock_guard lock(mutex_);
    return static_cast<std::uint64_t>(
        std::ranges::count_if(made_, [&](const Made& made) { return is(made, which); }));
}

std::vector<std::string> FaultPlan::calls() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    names.reserve(made_.size());
    for (const Made& made : made_) names.emplace_back(made.name);
    return names;
}

void FaultPlan::forget_calls() {
    const std::lock_guard lock(mutex_);
    made_.clear();
}

}  // namespace extencfs::fake
