// SPDX-License-Identifier: Apache-2.0
// What all parts of a rotation work with, and what they tell while it runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "encfs/daemon/failure.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/volume/volume_keys.h"

namespace extencfs::rotate {

enum class Phase : std::uint8_t { kSurvey, kContents, kNames, kCleaning };

// Counts up while a phase runs. THREADS: any, in parallel.
struct Progress {
    std::atomic<Phase> phase{Phase::kSurvey};
    std::atomic<std::uint64_t> things{0};      // names, those of directories among them
    std::atomic<std::uint64_t> bytes{0};       // of contents, holes among them
    std::atomic<std::uint64_t> found_done{0};  // files that an earlier run had sealed
    void begin(Phase next) {
        phase = next;
        things = 0;
        bytes = 0;
    }
};

// Something that opens under no key, before a rotation as after it.
struct Damaged {
    std::string path;  // lower, below the volume's directory
    std::string what;
};

// THREADS: any, in parallel.
class Damages {
  public:
    void add(std::string path, std::string what) {
        const std::lock_guard lock(mutex_);
        all_.push_back({std::move(path), std::move(what)});
    }
    std::vector<Damaged> all() const {
        const std::lock_guard lock(mutex_);
        return all_;
    }
    std::size_t count() const {
        const std::lock_guard lock(mutex_);
        return all_.size();
    }

  private:
    mutable std::mutex mutex_;
    std::vector<Damaged> all_;  // guarded by mutex_
};

// All of it outlives what uses it. THREADS: any, in parallel.
struct Tools {
    lower::LowerFs& fs;
    int root_fd;
    const volume::VolumeKeys& keys;
    // An earlier run may have ended since the disk failed: what is cached of a file is not
    // believed, since nothing writes pages again that did not get there.
    bool is_resumed = false;

    void forget_cached(int fd) const {
        if (is_resumed) fs.forget_cached(fd);
    }
    const volume::GenerationKeys& now() const { return keys.current(); }
    bool is_now(const volume::GenerationKeys* generation) const {
        return generation == &keys.current();
    }
};

// The generation under which `open(keys)` gives a value, the newest first, with that value;
// (nullptr, the last error) under none. REQUIRES: `open` gives a std::expected.
template <typename Open>
auto open_under_any(const volume::VolumeKeys& keys, const Open& open)
    -> std::pair<const volume::GenerationKeys*,
                 decltype(open(std::declval<const volume::GenerationKeys&>()))> {
    const auto all = keys.generations();
    auto tried = open(*all.back());
    const volume::GenerationKeys* under = tried ? all.back().get() : nullptr;
    for (std::size_t i = all.size() - 1; under == nullptr && i-- > 0;) {
        tried = open(*all[i]);
        if (tried) under = all[i].get();
    }
    return {under, std::move(tried)};
}

// "photos/x cannot be read (Input/output error); run the same again to go on".
std::unexpected<daemon::Failure> cannot(const std::string& path, const char* what,
                                        const lower::Errno& error);

inline std::string below(const std::string& directory, const std::string& entry) {
    return directory.empty() ? entry : directory + "/" + entry;
}

}  // namespace extencfs::rotate
