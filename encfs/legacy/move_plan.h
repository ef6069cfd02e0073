// SPDX-License-Identifier: Apache-2.0
// What the rename of a directory changes below it where names are chained (FORMAT.md "Renames"),
// and of a file where headers depend on paths; and the journal that it is kept in meanwhile. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "crypto/legacy_encfs.h"
#include "encfs/legacy/layout.h"
#include "encfs/volume/error.h"

namespace extencfs::legacy {

using volume::Result;

struct MoveTimes {
    std::int64_t seconds = 0;
    std::int64_t nanoseconds = 0;
};

// A directory whose names change. The first one is the directory that the renamed thing leaves, of
// which only a file's header changes; the second, if it is a directory, the renamed thing itself.
struct MoveDir {
    std::uint32_t parent = 0;  // its place in the list, before this one; without meaning for two
    std::string entry;         // lower name, before and after; of the first: empty
    std::string new_entry;
    MoveTimes atime, mtime;  // as they are to stay
};

// A lower name that changes, or a header.
struct MoveStep {
    std::uint32_t dir = 0;
    std::string entry;  // before
    std::string new_entry;
    // Of a regular file with a header: that, before and after. Empty: it has none.
    ByteVector header, new_header;
};

struct MovePlan {
    // Lower names from the root: of the directory that the renamed thing is in, before and after.
    std::vector<std::string> path, new_path;
    // The renamed thing itself.
    std::string entry, new_entry;
    std::vector<MoveDir> dirs;
    std::vector<MoveStep> steps;
};

// A plan that touches more is none that was written here.
constexpr std::size_t kMostMoveBytes = std::size_t{1} << 30;

// Ends with a MAC of all of it. ERRORS: kInternal.
Result<ByteVector> encode_move(const MovePlan& plan, const crypto::LegacyKey& key);
// ERRORS: kDamaged (cut off, not written by this volume's user, or out of range), kInternal.
Result<MovePlan> decode_move(Bytes bytes, const crypto::LegacyKey& key);

}  // namespace extencfs::legacy
