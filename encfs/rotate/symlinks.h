// SPDX-License-Identifier: Apache-2.0
// Symlinks, whose target cannot be changed: made anew under the newest generation and put in place
// of the old ones (FORMAT.md "Rotation of keys", step 2).
#pragma once

#include "encfs/rotate/tools.h"

namespace extencfs::rotate {

enum class LinkState : std::uint8_t { kNew, kReplaced, kDamaged };

// THREADS: one at a time.
class Symlinks {
  public:
    explicit Symlinks(const Tools& tools) : tools_(tools) {}

    // Where that symlink has other names: the new one that all of them will become is there. True:
    // it is to be durable before one of them is replaced. ERRORS: the errno.
    lower::Result<bool> prepare(int dirfd, const std::string& entry, const struct stat& is);
    // The symlink `entry` of that directory gets a target of the newest generation, and the owner
    // and times in `is`. ERRORS: the errno.
    lower::Result<LinkState> seal(int dirfd, const std::string& entry, const struct stat& is);
    // What generation it is of: kNew or kDamaged; kReplaced stands for an older one.
    lower::Result<LinkState> look(int dirfd, const std::string& entry) const;
    // Takes away what seal() kept in the root, and files of long targets that are of no use.
    lower::Result<void> clean();

  private:
    struct Target {
        const volume::GenerationKeys* keys;  // nullptr: opens under no key
        std::string plain;
    };
    lower::Result<Target> open(std::string_view lower_target) const;
    lower::Result<std::string> seal_target(std::string_view plain) const;
    lower::Result<void> make(const std::string& plain, int dirfd, const std::string& name,
                             const struct stat& is) const;

    const Tools& tools_;
};

}  // namespace extencfs::rotate
