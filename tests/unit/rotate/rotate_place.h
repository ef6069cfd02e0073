// SPDX-License-Identifier: Apache-2.0
// A small volume with one of everything, two passwords, and what can be seen of it from above.
#pragma once

#include <fcntl.h>
#include <catch2/catch.hpp>

#include <map>
#include <string>

#include "encfs/core/filesystem.h"
#include "encfs/core/format1.h"
#include "encfs/rotate/rotation.h"
#include "tests/fake/scratch_dir.h"
#include "tests/unit/core/borrowed_lower.h"
#include "tests/unit/daemon/key_place.h"

namespace extencfs::test {

// What is compared of each path besides names, contents, targets, modes and attributes.
// Access times only where nothing but the rotation read anything.
enum class Compare : std::uint8_t { kAccessTimesToo, kAll, kNoTimes };
using Upper = std::map<std::string, std::string>;

// In words; empty: there is none.
std::string difference(const Upper& now, const Upper& before);

class RotatePlace {
  public:
    // Empty: the configuration, nothing else.
    RotatePlace() = default;

    const std::string& path() const { return keys_.path(); }
    std::string path(const std::string& name) const { return keys_.path(name); }
    const KeyPlace& keys() const { return keys_; }

    // One of everything.
    void fill() const;
    // Opened with a password, or the failure.
    daemon::Outcome<std::unique_ptr<volume::VolumeKeys>> derived(
        std::string_view password = "right",
        daemon::InRotation rotation = daemon::InRotation::kRefused) const;
    // All that a mount would show. REQUIRES: `password` opens it.
    Upper look(Compare compare, std::string_view password = "right") const;
    // The file system of the volume, over `lower`, which outlives it.
    std::unique_ptr<core::Filesystem> open(lower::LowerFs& lower,
                                           std::shared_ptr<core::MetadataSink> sink = nullptr,
                                           std::string_view password = "right") const;
    // Runs `act` on the file system of the volume.
    void with(const std::function<void(core::Filesystem&)>& act,
              std::string_view password = "right") const;

  private:
    KeyPlace keys_;
};

// From one call at which something happens to the next that is tried.
#ifdef __SANITIZE_ADDRESS__
// Each of them takes five times as long there, and what they find wrong shows in other builds.
inline constexpr std::uint64_t kStep = 7;
#else
inline constexpr std::uint64_t kStep = 1;
#endif

// All that a file system shows now.
Upper seen_in(core::Filesystem& fs, Compare compare);

// As the command does it; `password` stays. Returns the failure, if it failed.
std::optional<daemon::Failure> rotate_keys(lower::LowerFs& fs, const std::string& path,
                                           rotate::Damages* damages = nullptr,
                                           std::string_view password = "right", unsigned jobs = 1);

// Of a rotation beside `fs`.
struct Rotated {
    std::optional<daemon::Failure> failed;
    std::uint64_t damaged = 0;
};
// As the daemon does it, from the beginning or from where an earlier one stopped. `between`: when
// the new key is in force and nothing is sealed under it yet.
Rotated rotate_beside(lower::LowerFs& lower, const std::string& path, core::Filesystem& fs,
                      const std::function<void()>& between = {}, bool leave_damaged = false);

// After whatever cut a rotation short: goes on with it unless it is over. Returns whether the
// volume had one generation of keys then: it was over, or had not begun.
bool end_rotation(const RotatePlace& place, const volume::VolumeKeys& old_keys);

// How many things below `path` any generation of `keys` opens: names, id files, headers, fragments,
// targets, attributes. `ids`: of all files and directories, from before.
std::size_t opened_by(const std::string& path, const volume::VolumeKeys& keys);

}  // namespace extencfs::test
