// SPDX-License-Identifier: Apache-2.0
// Reads both volumes and compares all that a migration keeps.
#pragma once

#include "encfs/migrate/tree_copy.h"

namespace extencfs::migrate {

// What was compared.
struct Verified {
    std::uint64_t files = 0;  // names of everything but directories
    std::uint64_t directories = 0;
    std::uint64_t bytes = 0;
    std::uint64_t differences = 0;
};

// Names, kinds, contents, symlink targets, device numbers, hard links, modes, owners, modification
// times, extended attributes and ACLs. Differences go to `problems`, but not where `known` has
// something of the same path: that was told before.
Verified verify(const Volumes& volumes, const HardLinks& links, unsigned jobs,
                const std::vector<Problem>& known, Problems& problems, Progress& progress);

}  // namespace extencfs::migrate
