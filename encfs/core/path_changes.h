// SPDX-License-Identifier: Apache-2.0
// Internal to core: what a PathMove tells the file system.
#pragma once

#include "encfs/core/filesystem.h"

namespace extencfs::core {

// LOCKS: Filesystem::paths_ is held exclusively while it is used.
class Filesystem::PathChanges final : public PathWatch {
  public:
    explicit PathChanges(Filesystem& fs) : fs_(fs) {}
    lower::Result<void> step(const Step& step,
                             const std::function<lower::Result<void>()>& act) override;
    void context_changed(std::uint64_t ino, const DirContext& context) override;
    void file_moved(std::uint64_t ino, std::uint64_t binding) override;

  private:
    Filesystem& fs_;
};

}  // namespace extencfs::core
