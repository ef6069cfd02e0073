// SPDX-License-Identifier: Apache-2.0
// The look at the whole old volume before anything is copied.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "encfs/core/filesystem.h"
#include "encfs/migrate/report.h"

namespace extencfs::migrate {

// All names of each file that has several, the same first one each time that the tree is looked at.
class HardLinks {
  public:
    void add(std::uint64_t ino, std::string path) { groups_[ino].push_back(std::move(path)); }
    // After the last add().
    void settle();
    // Whether what lies at `path` is made by a link to the first name of it.
    bool is_later_name(std::uint64_t ino, const std::string& path) const;
    // First name, other names. THREADS: after settle(), any.
    const std::unordered_map<std::uint64_t, std::vector<std::string>>& groups() const {
        return groups_;
    }

  private:
    std::unordered_map<std::uint64_t, std::vector<std::string>> groups_;
};

struct Survey {
    std::uint64_t files = 0;          // names of everything but directories
    std::uint64_t directories = 0;    // without the root
    std::uint64_t bytes = 0;          // of contents, each file once, holes among them
    std::uint64_t data_bytes = 0;     // likewise without holes, as far as stat tells
    std::uint64_t needed_bytes = 0;   // that the new volume takes below, about
    std::uint64_t largest_bytes = 0;  // the most of that for one file
    double read_bytes_per_s = 0;      // of one thread, by a sample; 0: nothing to read
    HardLinks links;
};

// How much of the contents is looked at.
enum class Depth : std::uint8_t {
    kSample,  // every file is opened, some are read for their speed
    kWhole,   // everything is read: all damage is found
};

// What cannot be read goes to `problems`. `left_out`: where the file system tells of names.
// ERRORS: kOther (the root directory cannot be listed).
daemon::Outcome<Survey> survey(core::Filesystem& fs, LeftOutNames& left_out, Depth depth,
                               unsigned jobs, Problems& problems, Progress& progress);

// A guess, in seconds.
double estimate_seconds(const Survey& survey, unsigned jobs);

}  // namespace extencfs::migrate
