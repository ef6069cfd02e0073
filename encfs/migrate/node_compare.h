// SPDX-License-Identifier: Apache-2.0
// Compares one thing in two volumes.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "encfs/core/filesystem.h"

namespace extencfs::migrate {

// THREADS: any, in parallel.
class NodeCompare {
  public:
    // `bytes`: counts what is read of contents.
    NodeCompare(core::Filesystem& from, core::Filesystem& to, std::atomic<std::uint64_t>& bytes)
        : from_(from), to_(to), bytes_(bytes) {}

    // In words, none where they are the same.
    std::vector<std::string> differences(core::NodeId old, const struct stat& attr,
                                         core::NodeId made, const struct stat& is) const;

  private:
    std::string contents(core::NodeId old, core::NodeId made, std::uint64_t size) const;
    std::string targets(core::NodeId old, core::NodeId made) const;
    std::string xattrs(core::NodeId old, core::NodeId made) const;

    core::Filesystem& from_;
    core::Filesystem& to_;
    std::atomic<std::uint64_t>& bytes_;
};

}  // namespace extencfs::migrate
