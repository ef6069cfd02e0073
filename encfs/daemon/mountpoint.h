// SPDX-License-Identifier: Apache-2.0
// Whether a directory may become a mountpoint.
#pragma once

#include <string>

#include "encfs/daemon/failure.h"

namespace extencfs::daemon {

enum class Occupied : bool { kRefuse = false, kAccept = true };

// Returns the resolved absolute path. ERRORS: kMountpoint (missing, not a directory, not empty
// where that is refused, in use by another extencfs mount, a dead mount, inside the volume).
Outcome<std::string> check_mountpoint(const std::string& path, int volume_root_fd,
                                      Occupied occupied);

}  // namespace extencfs::daemon
