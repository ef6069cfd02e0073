// SPDX-License-Identifier: Apache-2.0
// The process is killed at every single lower call of a workload, and between the pages of every
// write: no acknowledged operation is lost, the one under way is there or not, and all can be read.
#include <catch2/catch.hpp>

#include "tests/unit/core/crash_run.h"

using namespace extencfs;
using namespace extencfs::core;
using fake::Tear;

namespace {

// Growing a file shows what a crash left beyond its end, if anything of it can still be seen.
std::string fault_after_growth(Filesystem& fs, const Seen& before) {
    Session session(fs);
    IoBuffer buffer;
    for (const auto& [path, node] : before.nodes) {
        if (!S_ISREG(node.type)) continue;
        auto id = session.node(path);
        if (!id) return path + ": gone";
        std::string expected = node.content;
        const auto resize = [&](std::uint64_t size) {
            AttrChange change;
            change.size_set = true;
            change.size = size;
            expected.resize(size, '\0');
            return fs.setattr(*id, change).has_value();
        };
        const std::string more = stamped(9999, expected.size() + 50, 300);
        if (!fs.write(*id, expected.size() + 50, bytes_of(more), WriteSource::kCaller, {}))
            return path + ": cannot be written";
        expected.resize(expected.size() + 50, '\0');
        expected += more;
        if (!resize(expected.size() + 9000) || !resize(expected.size() + 100'000) ||
            !resize(expected.size() / 2) || !resize(expected.size() * 2))
            return path + ": cannot be resized";
        auto got = fs.read(*id, 0, expected.size() + 10, buffer);
        if (!got) return path + ": cannot be read after growth";
        if (text_of(*got) != expected) return path + ": foreign bytes after growth";
    }
    session.forget_all();
    return {};
}

// Everything that must hold after a kill, seen by a file system that is opened anew.
void check_after_kill(CrashRun& run, const Script& script) {
    const auto real = lower::make_posix_lower_fs();
    Damage damage;
    const Allowed allowed = run.after_kill();
    const std::size_t threads = threads_now();
    auto fs = open_fs(*real, run.dir(), {.clean = false, .damage = &damage});
    // Beside the scan, and after it.
    const Seen first = read_all(*fs, script.paths());
    CHECK(fault_in(first, allowed) == "");
    wait_for_scan(threads);
    const Seen second = read_all(*fs, script.paths());
    CHECK(fault_in(second, allowed) == "");
    CHECK(fs->node_count() == 1);
    CHECK(fs->finish());
    fs.reset();

    fs = open_fs(*real, run.dir(), {.clean = true, .damage = &damage});
    const Seen third = read_all(*fs, script.paths());
    CHECK(fault_in(third, allowed) == "");
    CHECK(fault_after_growth(*fs, third) == "");
    CHECK(damage.text() == "");
}

// Before the scan has mended anything: a writer comes first.
void check_growth_at_once(CrashRun& run, const Script& script) {
    const auto real = lower::make_posix_lower_fs();
    auto fs = open_fs(*real, run.dir(), {.clean = false});
    const Seen seen = read_all(*fs, script.paths());
    CHECK(fault_after_growth(*fs, seen) == "");
}

std::size_t number_of_calls(const Script& script) {
    CrashRun run(script);
    REQUIRE(run.run([] {}) == script.steps().size());
    return run.lower().count(fake::Calls::mutating());
}

}  // namespace

TEST_CASE("the script does what its model says") {
    const Script script = whole_script();
    CrashRun run(script);
    REQUIRE(run.run([] {}) == script.steps().size());
    check_after_kill(run, script);
}

TEST_CASE("a kill at any call loses no acknowledged operation") {
    const Script script = whole_script();
    const std::size_t calls = number_of_calls(script);
    REQUIRE(calls > 200);
    for (std::size_t n = 1; n <= calls; ++n) {
        CrashRun run(script);
        run.run([&] { run.lower().die_at(n); });
        REQUIRE(run.lower().dead());
        INFO("died at call " << n << ": " << run.lower().calls().back() << ", in "
                             << run.in_flight());
        if (n % 3 == 0)
            check_growth_at_once(run, script);
        else
            check_after_kill(run, script);
    }
}

TEST_CASE("a kill between the pages of any write loses no acknowledged operation") {
    const Script script = whole_script();
    BorrowedLower::WriteLog log;
    {
        CrashRun run(script);
        run.run([] {}, &log);
    }
    constexpr std::uint64_t kPage = 4096;
    std::size_t tried = 0;
    for (std::size_t n = 1; n <= log.writes.size(); ++n) {
        const auto [offset, size] = log.writes[n - 1];
        // A kill stops a write between two pages of the lower file, never within one.
        const std::uint64_t head = kPage - offset % kPage;
        if (head >= size) continue;
        const std::uint64_t pages = (size - head + kPage - 1) / kPage;
        for (std::uint64_t after = 0; after < pages; after += 1 + pages / 8) {
            CrashRun run(script);
            run.run([&] { run.lower().tear_at(n, head + after * kPage, Tear::Then::kDie); });
            REQUIRE(run.lower().dead());
            INFO("write " << n << " of " << size << " bytes at " << offset << " torn after "
                          << head + after * kPage << ", in " << run.in_flight());
            if (++tried % 2 == 0)
                check_growth_at_once(run, script);
            else
                check_after_kill(run, script);
        }
    }
    CHECK(tried > 20);
}
