// SPDX-License-Identifier: Apache-2.0
// The power goes at every lower call of a workload: what was fsynced, with its directory, is there
// and reads; the rest may be lost, but nothing shows bytes that were never in that place.
#include <catch2/catch.hpp>

#include <cstdlib>

#include "tests/unit/core/crash_run.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

// More of them with EXTENCFS_CRASH_SEEDS=n.
std::uint64_t seeds(std::uint64_t usual) {
    const char* wanted = std::getenv("EXTENCFS_CRASH_SEEDS");
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : usual;
}

// Sizes are settled by the recovery, so that a second crash finds nothing new to lose: growing each
// file must show zeros, and what was readable must stay so.
std::string fault_after_growth(Filesystem& fs, const Seen& before) {
    Session session(fs);
    IoBuffer buffer;
    for (const auto& [path, node] : before.nodes) {
        if (!S_ISREG(node.type)) continue;
        auto id = session.node(path);
        if (!id) return path + ": gone";
        const std::size_t old = node.content.size();
        AttrChange change;
        change.size_set = true;
        change.size = old + 5000;
        auto grown = fs.setattr(*id, change);
        if (!grown) {
            if (grown.error().kind != ErrorKind::kDamaged) return path + ": cannot grow";
            continue;
        }
        for (std::size_t i = 0; i < old; i += 512) {
            if (!node.readable[i]) continue;
            auto got = fs.read(*id, i, 1, buffer);
            if (!got || got->size() != 1 || text_of(*got)[0] != node.content[i])
                return path + ": changed by growth at " + std::to_string(i);
        }
        auto got = fs.read(*id, old, 5000, buffer);
        if (!got) {
            const bool tail_damaged = old > 0 && !node.readable[old - 1];
            if (got.error().kind == ErrorKind::kDamaged && tail_damaged) continue;
            return path + ": the new bytes cannot be read";
        }
        if (text_of(*got) != std::string(5000, '\0')) return path + ": foreign bytes after growth";
    }
    session.forget_all();
    return {};
}

void check_after_power_loss(CrashRun& run, const Script& script) {
    const auto real = lower::make_posix_lower_fs();
    const Allowed allowed = run.after_power_loss();
    const std::size_t threads = threads_now();
    auto fs = open_fs(*real, run.dir(), {.clean = false});
    const Seen seen = read_all(*fs, script.paths());
    CHECK(fault_in(seen, allowed) == "");
    wait_for_scan(threads);
    const Seen again = read_all(*fs, script.paths());
    CHECK(fault_in(again, allowed) == "");
    CHECK(fault_after_growth(*fs, again) == "");
    CHECK(fs->node_count() == 1);
}

std::size_t number_of_calls(const Script& script) {
    CrashRun run(script);
    run.run([] {});
    return run.lower().count(fake::Calls::mutating());
}

}  // namespace

TEST_CASE("power loss at any call keeps what was synced") {
    const Script script = whole_script();
    const std::size_t calls = number_of_calls(script);
    for (std::uint64_t seed = 1; seed <= seeds(4); ++seed) {
        for (std::size_t n = 1; n <= calls; ++n) {
            CrashRun run(script);
            run.run([&] {
                run.lower().track_power_loss();
                run.lower().die_at(n);
            });
            const std::string call = run.lower().calls().back();
            const std::string said = run.lower().power_cut(seed * 1000 + n);
            INFO("power lost at call " << n << ": " << call << ", in " << run.in_flight()
                                       << ", seed " << seed << "\n"
                                       << said);
            check_after_power_loss(run, script);
        }
    }
}

// A kill, a remount that mends and changes, and then the power goes: what the first life left is
// still there, as opening syncs it.
TEST_CASE("power loss after a kill and a remount keeps what the kill left") {
    const Script script = whole_script();
    const std::size_t calls = number_of_calls(script);
    for (std::uint64_t seed = 1; seed <= seeds(1); ++seed) {
        for (std::size_t n = 1; n <= calls; ++n) {
            CrashRun run(script);
            run.run([&] {
                run.lower().track_power_loss();
                run.lower().die_at(n);
            });
            run.lower().revive();
            {
                const std::size_t threads = threads_now();
                auto fs = open_fs(run.lower(), run.dir(), {.clean = false});
                if (seed % 2 == 0) wait_for_scan(threads);
            }
            const std::string said = run.lower().power_cut(seed * 1000 + n);
            INFO("killed at call " << n << ", in " << run.in_flight() << ", seed " << seed << "\n"
                                   << said);
            const auto real = lower::make_posix_lower_fs();
            auto fs = open_fs(*real, run.dir(), {.clean = false});
            const Seen seen = read_all(*fs, script.paths());
            CHECK(fault_in(seen, run.after_remount()) == "");
        }
    }
}
