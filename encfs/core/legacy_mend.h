// SPDX-License-Identifier: Apache-2.0
// Directories of EncFS volumes that EncFS's own rename left behind half done, where names are
// chained: some names below were encoded for the place that the directory was to get, and nothing
// shows them. They are found by trying the places that the directory could have had, and are given
// the names that belong where they lie, by the journal and the steps of a move that is taken back.
//
// EncFS 1.9.5 renames from the bottom up, each file's header before its name, and the directory
// itself last. What it was to be called lies nowhere then, unless something of that name is there
// (the same name in another directory, the name of another directory): else the user must tell.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "encfs/core/legacy_format.h"
#include "encfs/legacy/move_plan.h"

namespace extencfs::core {

// A directory, and what of its contents belongs to another place. Paths are lower ones, as they are
// now.
struct HalfRenamed {
    std::string lower, plain;          // its own
    std::vector<std::string> wrong;    // get another name
    std::vector<std::string> recoded;  // keep their name, and get another header
    std::vector<std::string> left;     // stay as they are: something has their name, or what is in
                                       // them is of neither place
    std::uint64_t headers = 0;         // that are written again
    legacy::MovePlan plan;             // as if the move had been ours
};

// THREADS: one. Everything given outlives it.
class LegacyMend {
  public:
    LegacyMend(lower::LowerFs& lower, int rootfd, const LegacyVolume& volume)
        : lower_(lower),
          rootfd_(rootfd),
          key_(volume.key),
          names_(volume.key, volume.parameters.names),
          contents_(volume.key, volume.parameters.contents),
          chained_(volume.parameters.names.chained &&
                   volume.parameters.names.scheme != legacy::NameScheme::kNull),
          headers_(volume.parameters.path_in_header && chained_) {}

    // Changes nothing. `hints`: paths in the volume that a directory was to get, or had.
    // REQUIRES: no journal is pending. ERRORS: kLower (the root), kInternal.
    Result<std::vector<HalfRenamed>> find(const std::vector<std::string>& hints);
    // Killed at any call, it goes on by recover_move(), thus also by the next mount.
    // REQUIRES: nobody else uses the volume, which may be written. ERRORS: kLower.
    Result<void> mend(const HalfRenamed& directory);

    // What a name is that does not decode.
    bool is_spelled(std::string_view entry) const { return names_.is_spelled(entry); }

  private:
    class Search;
    class Planner;
    // What the first blocks of a file say of a header that is read for a path.
    enum class Proof : std::uint8_t { kRight, kWrong, kNone };
    Result<Proof> prove(Bytes start, std::uint64_t path_iv) const;
    // Its header and first blocks; empty: it cannot be read.
    ByteVector start_of(int dirfd, const std::string& entry) const;
    // Files tell by themselves whether they lie where they belong.
    bool proves() const;

    lower::LowerFs& lower_;
    int rootfd_;
    std::shared_ptr<const crypto::LegacyKey> key_;
    legacy::NameCodec names_;
    legacy::ContentCodec contents_;
    bool chained_;
    bool headers_;  // depend on paths
};

}  // namespace extencfs::core
