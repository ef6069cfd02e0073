// SPDX-License-Identifier: Apache-2.0
#include "encfs/lower/fd.h"

#include <unistd.h>

namespace extencfs::lower {

void Fd::reset() {
    // Linux frees the number even when close(2) says EINTR, so it is never called twice.
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

}  // namespace extencfs::lower
