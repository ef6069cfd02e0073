// SPDX-License-Identifier: Apache-2.0
// Kernel settings of one mount that only root can change (/sys/class/bdi).
#pragma once

#include <string>

namespace extencfs::fuse {

// Lets the page cache of the mount at `mountpoint` hold as much unwritten data as that of a local
// file system (FUSE's own limit is 1% of it, and makes writers wait), and read ahead further.
// Returns a note where that was not possible, else nothing. Sends no request to the mount.
std::string tune_page_cache(const std::string& mountpoint);

}  // namespace extencfs::fuse
