// SPDX-License-Identifier: Apache-2.0
// What `check` tells: for people, or as JSON.
#pragma once

#include <string>
#include <vector>

#include "encfs/core/legacy_mend.h"
#include "encfs/core/volume_check.h"

namespace extencfs::tools {

struct CheckReport {
    std::string path;
    bool encfs = false;
    bool checksums = true;  // damage of contents can be seen
    bool plain = false;     // paths in plain are told too
    bool repaired = false;  // it was asked to repair
    core::CheckCounts counts;
    std::vector<core::Finding> findings;
    std::vector<core::HalfRenamed> half;  // that are left
    // What was repaired.
    std::uint64_t journals = 0, names = 0, headers = 0;

    std::uint64_t damaged() const;
};

// On standard output.
void print_text(const CheckReport& report);
void print_json(const CheckReport& report);

}  // namespace extencfs::tools
