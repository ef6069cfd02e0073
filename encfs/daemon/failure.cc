// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/failure.h"

#include <system_error>

namespace extencfs::daemon {

std::string errno_text(int error) {
    return std::generic_category().message(error);
}

}  // namespace extencfs::daemon
