// SPDX-License-Identifier: Apache-2.0
// Internal to core: holds the namespace stripes of several directories, each once, in the order
// that all who take several keep (LOCKING.md).
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <shared_mutex>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

class Filesystem::NamespaceGuard {
  public:
    NamespaceGuard(Filesystem& fs, std::initializer_list<NodeId> directories);
    ~NamespaceGuard();
    NamespaceGuard(const NamespaceGuard&) = delete;
    NamespaceGuard& operator=(const NamespaceGuard&) = delete;

  private:
    std::array<std::shared_mutex*, 4> held_{};
    std::size_t count_ = 0;
};

}  // namespace extencfs::core
