// SPDX-License-Identifier: Apache-2.0
// Where an open descriptor lies.
#pragma once

#include <string>

namespace extencfs::core {

// The path of `fd` below the directory `rootfd`, as the kernel tells it now ("" if it cannot tell);
// the whole path of what lies elsewhere. What has no name any more ends with " (deleted)".
// THREADS: any.
std::string path_below(int rootfd, int fd);

}  // namespace extencfs::core
