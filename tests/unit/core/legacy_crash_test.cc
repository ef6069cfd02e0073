// SPDX-License-Identifier: Apache-2.0
// The process is killed at every single lower call of a workload on an EncFS volume: no
// acknowledged operation is lost. (Names are not chained here: legacy_move_test.cc has those.)
#include <catch2/catch.hpp>

#include "tests/unit/core/crash_run.h"
#include "tests/unit/core/legacy_volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

void check_after_kill(CrashRun& run, const Script& script, const LegacyVolume& volume) {
    const auto real = lower::make_posix_lower_fs();
    Damage damage;
    Allowed allowed = run.after_kill();
    // The last block is made whole before anything follows it: growth may be cut short.
    for (const auto& [id, node] : script.history()[allowed.first].nodes) allowed.between[id] = true;
    for (int mount = 0; mount < 2; ++mount) {
        auto fs = open_fs(*real, run.dir(), {.clean = true, .damage = &damage, .legacy = &volume});
        const Seen seen = read_all(*fs, script.paths());
        // Pages that the kernel had not handed over yet are a hole: nobody kept them for later.
        if (script.pending()[allowed.first] || script.pending()[allowed.last])
            CHECK(seen.errors.empty());
        else
            CHECK(fault_in(seen, allowed) == "");
        CHECK(fs->node_count() == 1);
        CHECK(fs->finish());
    }
    CHECK(damage.text() == "");
}

}  // namespace

TEST_CASE("a kill at any call loses no acknowledged operation in EncFS volumes") {
    const Script script = whole_script();
    std::size_t step = 1;  // each call in the first kind of volume, then every third
    for (LegacyKind kind : legacy_kinds()) {
        INFO(kind.name);
        // Plain names: the script's longest target has no room as another.
        kind.volume =
            legacy_volume(kind.volume.parameters.contents, legacy::NameScheme::kNull, false);
        std::size_t calls = 0;
        {
            CrashRun run(script, &kind.volume);
            REQUIRE(run.run([] {}) == script.steps().size());
            calls = run.lower().count(fake::Calls::mutating());
            check_after_kill(run, script, kind.volume);
        }
        REQUIRE(calls > 100);
        for (std::size_t n = 1; n <= calls; n += step) {
            CrashRun run(script, &kind.volume);
            run.run([&] { run.lower().die_at(n); });
            REQUIRE(run.lower().dead());
            INFO("died at call " << n << ": " << run.lower().calls().back() << ", in "
                                 << run.in_flight());
            check_after_kill(run, script, kind.volume);
        }
        step = 3;
    }
}
