// SPDX-License-Identifier: Apache-2.0
// One volume for all tests of core: its keys, and a file system opened over any lower one.
#pragma once

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "encfs/core/filesystem.h"
#include "encfs/core/format1.h"
#include "encfs/core/legacy_format.h"
#include "encfs/volume/config.h"
#include "encfs/volume/volume_keys.h"
#include "tests/fake/scratch_dir.h"
#include "tests/unit/core/borrowed_lower.h"

namespace extencfs::core {

// The same volume each time; its one password key derivation is paid once.
inline std::unique_ptr<volume::VolumeKeys> keys_for_tests() {
    struct Made {
        volume::Config config;
        crypto::Key256 key;
    };
    static const Made made = [] {
        Made m;
        auto config = volume::new_config({.cost = crypto::kArgon2Least}, bytes_of("x"), m.key);
        REQUIRE(config);
        m.config = std::move(*config);
        return m;
    }();
    auto keys = volume::VolumeKeys::derive(made.config, made.key.bytes());
    REQUIRE(keys);
    return std::move(*keys);
}

// What was reported as damaged. THREADS: any.
struct Damage {
    std::mutex mutex;
    std::vector<std::string> seen;
    void add(const DamageReport& report) {
        const std::lock_guard lock(mutex);
        seen.push_back(report.what + ": " + report.lower_name);
    }
    std::size_t count() {
        const std::lock_guard lock(mutex);
        return seen.size();
    }
    std::string text() {
        const std::lock_guard lock(mutex);
        std::string all;
        for (const auto& one : seen) all += one + "\n";
        return all;
    }
};

struct OpenHow {
    bool clean = false;
    Damage* damage = nullptr;
    BorrowedLower::WriteLog* writes = nullptr;
    std::size_t max_descriptors = 512;
    std::function<void()> after_sync = {};
    bool shared = false;
    bool read_only = false;
    std::shared_ptr<MetadataSink> sink = nullptr;
    const LegacyVolume* legacy = nullptr;  // an EncFS volume instead of one of format 1
};

// A file system on `dir` over `lower`, which stays the caller's.
inline Result<std::unique_ptr<Filesystem>> try_open(lower::LowerFs& lower,
                                                    const fake::ScratchDir& dir,
                                                    const OpenHow& how) {
    lower::Fd root(::fcntl(dir.fd(), F_DUPFD_CLOEXEC, 0));
    REQUIRE(root);
    Options options;
    options.trust_hints = how.clean;
    options.max_descriptors = how.max_descriptors;
    options.shared = how.shared;
    options.read_only = how.read_only;
    options.sink = how.sink;
    if (how.damage != nullptr)
        options.on_damage = [damage = how.damage](const DamageReport& r) { damage->add(r); };
    return Filesystem::open(
        std::make_unique<BorrowedLower>(lower, how.writes, how.after_sync), std::move(root),
        how.legacy != nullptr ? legacy_format(*how.legacy) : format1(keys_for_tests()),
        std::move(options));
}

inline std::unique_ptr<Filesystem> open_fs(lower::LowerFs& lower, const fake::ScratchDir& dir,
                                           const OpenHow& how = {}) {
    auto fs = try_open(lower, dir, how);
    REQUIRE(fs);
    return std::move(*fs);
}

inline std::size_t threads_now() {
    const std::filesystem::directory_iterator tasks("/proc/self/task");
    return static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
}

// Until the recovery scan of a file system that was opened when there were `before` threads has
// ended. Bounded: ten seconds.
inline void wait_for_scan(std::size_t before) {
    for (int i = 0; i < 100'000 && threads_now() > before; ++i)
        std::this_thread::sleep_for(std::chrono::microseconds(100));
}

}  // namespace extencfs::core
