// SPDX-License-Identifier: Apache-2.0
// Each lower call of a workload fails once: the operation tells, or succeeds all the same; nothing
// else is touched; it can be tried again, and the rest of the workload goes on as if nothing had
// been, also in a file system that is opened anew.
#include <catch2/catch.hpp>

#include <cerrno>

#include "tests/unit/core/crash_run.h"

using namespace extencfs;
using namespace extencfs::core;
using fake::Calls;

namespace {

enum class Then { kGoOn, kRemount };

class FailureRun {
  public:
    explicit FailureRun(const Script& script)
        : script_(script), dir_(fake::ScratchDir::in_memory()) {
        mount(true);
    }

    fake::FaultLowerFs& lower() { return lower_; }

    void run(std::uint64_t n, int error, const Calls& which, Then then) {
        lower_.forget_calls();
        lower_.fail_at(n, error, which);
        bool fired = false;
        for (done_ = 0; done_ < script_.steps().size(); ++done_) {
            const Step& step = script_.steps()[done_];
            INFO("in " << step.what);
            auto r = step.act(*session_);
            const bool fires_now = !fired && lower_.count(which) >= n;
            fired = fired || fires_now;
            if (!r) INFO("errno " << errno_of(r.error()));
            if (!fires_now) {
                REQUIRE(r);
                continue;
            }
            check(r.has_value());
            if (then == Then::kRemount) remount(r.has_value());
            if (!r) try_again(step);
        }
        REQUIRE(fired);
        check_is(script_.steps().size());
        remount(true);
        check_is(script_.steps().size());
    }

  private:
    void mount(bool clean) {
        fs_ = open_fs(lower_, dir_, {.clean = clean, .damage = &damage_});
        session_ = std::make_unique<Session>(*fs_);
    }

    void remount(bool succeeded) {
        const std::size_t step = succeeded ? std::min(done_ + 1, script_.steps().size()) : done_;
        if (script_.pending()[step]) return;
        const Seen before = read_all(*fs_, script_.paths());
        session_->forget_all();
        CHECK(fs_->node_count() == 1);
        CHECK(fs_->finish());
        session_.reset();
        fs_.reset();
        mount(true);
        const Seen after = read_all(*fs_, script_.paths());
        REQUIRE(after.errors.empty());
        CHECK(before.nodes.size() == after.nodes.size());
        for (const auto& [path, node] : before.nodes) {
            INFO(path);
            REQUIRE(after.nodes.contains(path));
            CHECK(after.nodes.at(path).content == node.content);
            CHECK(after.nodes.at(path).xattrs == node.xattrs);
        }
    }

    Allowed exactly(std::size_t steps) const {
        Allowed allowed{.history = &script_.history(),
                        .first = steps,
                        .last = steps,
                        .content_since = {},
                        .between = {},
                        .safe = {}};
        for (const auto& [id, node] : script_.history()[steps].nodes)
            allowed.content_since[id] = steps;
        return allowed;
    }

    void check_is(std::size_t steps) {
        CHECK(fault_in(read_all(*fs_, script_.paths()), exactly(steps)) == "");
        CHECK(damage_.text() == "");
    }

    void check(bool succeeded) {
        if (script_.pending()[done_] || script_.pending()[done_ + 1]) return;
        if (succeeded) return check_is(done_ + 1);
        Allowed allowed = exactly(done_);
        allowed.last = done_ + 1;
        if (script_.steps()[done_].between >= 0)
            allowed.between[script_.steps()[done_].between] = true;
        CHECK(fault_in(read_all(*fs_, script_.paths()), allowed) == "");
        CHECK(damage_.text() == "");
    }

    void try_again(const Step& step) {
        auto again = step.act(*session_);
        if (!again) {
            // It was done before it failed.
            INFO("again: errno " << errno_of(again.error()));
            REQUIRE(script_.history()[done_].names != script_.history()[done_ + 1].names);
        }
        if (!script_.pending()[done_ + 1]) check_is(done_ + 1);
    }

    const Script& script_;
    fake::ScratchDir dir_;
    fake::FaultLowerFs lower_;
    Damage damage_;
    std::unique_ptr<Filesystem> fs_;
    std::unique_ptr<Session> session_;
    std::size_t done_ = 0;
};

void fail_each(const Calls& which, int error, Then then, std::size_t stride) {
    const Script script = whole_script();
    CrashRun sound(script);
    REQUIRE(sound.run([] {}) == script.steps().size());
    const std::uint64_t calls = sound.lower().count(which);
    const auto names = sound.lower().calls();
    for (std::uint64_t n = 1; n <= calls; n += stride) {
        INFO("call " << n << " of " << calls << " fails with errno " << error);
        FailureRun run(script);
        run.run(n, error, which, then);
    }
}

}  // namespace

TEST_CASE("any change that fails with ENOSPC leaves a consistent file system") {
    fail_each(Calls::mutating(), ENOSPC, Then::kGoOn, 1);
}

TEST_CASE("any change that fails with EIO leaves a file system that mounts again") {
    fail_each(Calls::mutating(), EIO, Then::kRemount, 1);
}

TEST_CASE("any call that fails with EIO leaves a consistent file system") {
    fail_each(Calls::any(), EIO, Then::kGoOn, 1);
}
