// SPDX-License-Identifier: Apache-2.0
// Threads that do everything at once on one file system. Each outcome is one that some order of the
// operations allows; at the end all references come back, and all that is left can be read. Runs
// under ThreadSanitizer as well.
#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/recording_sink.h"
#include "tests/unit/core/seen.h"
#include "tests/unit/core/volume_for_tests.h"
#include "tests/unit/core/worker.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

void check_all_readable(const Seen& seen) {
    CHECK(seen.errors.empty());
    for (const auto& error : seen.errors) UNSCOPED_INFO(error);
    for (const auto& [path, node] : seen.nodes) {
        INFO(path);
        CHECK_FALSE(node.damaged);
        CHECK(node.listed);
        CHECK(std::all_of(node.readable.begin(), node.readable.end(), [](bool b) { return b; }));
    }
}

void run_threads(std::uint64_t seed, int steps, std::size_t descriptors, int scan_first,
                 const std::shared_ptr<RecordingSink>& sink = nullptr,
                 const LegacyVolume* legacy = nullptr) {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    Damage damage;
    std::size_t threads_before = threads_now();
    std::unique_ptr<CheckedLower> checked;
    if (sink) checked = std::make_unique<CheckedLower>(*real, *sink);
    lower::LowerFs& lower = sink ? *checked : *real;
    auto fs = open_fs(lower, dir,
                      {.clean = scan_first == 0,
                       .damage = &damage,
                       .max_descriptors = descriptors,
                       .sink = sink,
                       .legacy = legacy});
    std::vector<Worker> workers;
    // A single name as long as a path has no room below in an EncFS volume.
    const std::size_t longest_target = legacy != nullptr ? 1500 : 3500;
    for (unsigned t = 0; t < 4; ++t) workers.emplace_back(*fs, seed * 100 + t, longest_target);
    {
        std::vector<std::thread> threads;
        for (Worker& worker : workers)
            threads.emplace_back([&worker, steps] { worker.run(steps); });
        for (auto& thread : threads) thread.join();
    }
    for (const Worker& worker : workers)
        for (const auto& fault : worker.faults()) FAIL_CHECK(fault << "\n" << damage.text());
    if (scan_first != 0) wait_for_scan(threads_before);
    CHECK(fs->node_count() == 1);
    CHECK(damage.text() == "");
    const Seen before = read_all(*fs);
    check_all_readable(before);
    CHECK(fs->node_count() == 1);
    CHECK(fs->finish());
    fs = open_fs(*real, dir, {.clean = true, .damage = &damage, .legacy = legacy});
    const Seen after = read_all(*fs);
    check_all_readable(after);
    CHECK(damage.text() == "");
    REQUIRE(before.nodes.size() == after.nodes.size());
    for (const auto& [path, node] : before.nodes) {
        REQUIRE(after.nodes.contains(path));
        CHECK(after.nodes.at(path).content == node.content);
    }
}

}  // namespace

// More of them with EXTENCFS_PARALLEL_SEEDS=n.
static std::uint64_t seeds(std::uint64_t usual) {
    const char* wanted = std::getenv("EXTENCFS_PARALLEL_SEEDS");
    return wanted != nullptr ? std::strtoull(wanted, nullptr, 10) : usual;
}

TEST_CASE("threads at once, and all references come back") {
    for (std::uint64_t seed = 1; seed <= seeds(12); ++seed) {
        INFO("seed " << seed);
        run_threads(seed, 400, 512, 0);
    }
}

TEST_CASE("threads at once with hardly any descriptors") {
    for (std::uint64_t seed = 1001; seed <= 1000 + seeds(9); ++seed) {
        INFO("seed " << seed);
        run_threads(seed, 400, 8, 0);
    }
}

TEST_CASE("threads at once beside a recovery scan") {
    for (std::uint64_t seed = 2001; seed <= 2000 + seeds(9); ++seed) {
        INFO("seed " << seed);
        run_threads(seed, 200, 64, 1);
    }
}

TEST_CASE("threads at once, and the sink is told of every change in time") {
    for (std::uint64_t seed = 3001; seed <= 3000 + seeds(6); ++seed) {
        INFO("seed " << seed);
        const auto sink = std::make_shared<RecordingSink>();
        run_threads(seed, 300, seed % 2 ? 64 : 8, seed % 3 == 0, sink);
        CHECK(sink->faults() == "");
        CHECK(sink->all_open());
        CHECK(sink->nodes() == 1);
        CHECK(sink->ended);
    }
}

TEST_CASE("threads at once in EncFS volumes") {
    std::uint64_t seed = 4000;
    for (const auto& kind : legacy_kinds()) {
        for (std::uint64_t left = seeds(2); left > 0; --left) {
            ++seed;
            INFO(kind.name << ", seed " << seed);
            const auto sink = seed % 2 ? std::make_shared<RecordingSink>() : nullptr;
            run_threads(seed, 200, seed % 2 ? 64 : 8, 0, sink, &kind.volume);
            if (sink) CHECK(sink->faults() == "");
        }
    }
}

TEST_CASE("references that come back at once still settle the file") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    constexpr int kFiles = 400;
    const std::string page = filled('z', 4096);
    auto fs = open_fs(*real, dir, {.clean = true});
    for (int i = 0; i < kFiles; ++i) {
        const std::string name = std::to_string(i);
        auto made = fs->create(kRootNode, name, 0644, {});
        REQUIRE(made);
        REQUIRE(fs->lookup(kRootNode, name));
        // A page beyond the end: the header does not tell of it before the file is settled.
        REQUIRE(fs->write(made->node, 8192, bytes_of(page), WriteSource::kPageCache, {}));
        std::atomic<int> ready{0};
        const auto give_back = [&] {
            for (++ready; ready < 2;) {
            }
            fs->forget(made->node, 1);
        };
        std::thread other(give_back);
        give_back();
        other.join();
    }
    CHECK(fs->node_count() == 1);
    CHECK(fs->finish());
    fs = open_fs(*real, dir, {.clean = true});
    int wrong = 0;
    for (int i = 0; i < kFiles; ++i) {
        auto found = fs->lookup(kRootNode, std::to_string(i));
        REQUIRE(found);
        wrong += found->attr.st_size != 12'288;
        fs->forget(found->node, 1);
    }
    CHECK(wrong == 0);
}

TEST_CASE("a change of attributes never meets the file that took the name") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    auto fs = open_fs(*real, dir, {.clean = true});
    const auto mine = fs->mknod(kRootNode, "mine", S_IFIFO | 0600, 0, {});
    const auto other = fs->mknod(kRootNode, "other", S_IFIFO | 0600, 0, {});
    REQUIRE(mine);
    REQUIRE(other);
    std::atomic<bool> end{false};
    std::thread exchanging([&] {
        while (!end)
            (void)fs->rename(kRootNode, "mine", kRootNode, "other", lower::RenameMode::kExchange);
    });
    int changed = 0;
    for (int i = 0; i < 20'000; ++i) {
        AttrChange change;
        change.mode_set = true;
        change.mode = 0640;
        changed += fs->setattr(mine->node, change).has_value();
    }
    end = true;
    exchanging.join();
    CHECK(changed > 0);
    CHECK((fs->getattr(mine->node)->st_mode & 07777) == 0640);
    CHECK((fs->getattr(other->node)->st_mode & 07777) == 0600);
    fs->forget(mine->node, 1);
    fs->forget(other->node, 1);
}
