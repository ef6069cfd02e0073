// SPDX-License-Identifier: Apache-2.0
// Whether a migration in place that is begun can also be finished: looked at before anything is
// changed, and without a password.
#pragma once

#include <string>

#include "encfs/daemon/failure.h"
#include "encfs/lower/lower_fs.h"

namespace extencfs::migrate {

// Refuses what this user may not remove or give back to its owner, other file systems below, and
// names that format 1 keeps for itself. ERRORS: kCipherDir.
daemon::Outcome<void> check_lower_tree(lower::LowerFs& fs, int root_fd, const std::string& path);

// Refuses a directory that EncFS 1.x shows, as that takes no lock: by the kernel's table of mounts,
// the attributes that such a mount's root shares with the directory, and the command lines of
// processes that are named encfs. ERRORS: kLocked.
daemon::Outcome<void> check_no_encfs(int root_fd, const std::string& path);

}  // namespace extencfs::migrate
