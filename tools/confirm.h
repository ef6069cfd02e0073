// SPDX-License-Identifier: Apache-2.0
// Asks a person yes or no, on /dev/tty.
#pragma once

#include <string>

#include "encfs/daemon/failure.h"

namespace extencfs::tools {

// True for "y" or "yes". ERRORS: kOther (there is nobody to ask).
daemon::Outcome<bool> confirm(const std::string& question);

}  // namespace extencfs::tools
