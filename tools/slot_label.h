// SPDX-License-Identifier: Apache-2.0
// The label of a key slot that is to be made.
#pragma once

#include <string>

#include "encfs/daemon/failure.h"

namespace extencfs::tools {

// Stricter than the format, which older volumes may have used: nothing in a new one turns around
// what a listing says beside it. ERRORS: kKeySlot.
daemon::Outcome<void> check_label(const std::string& label);

}  // namespace extencfs::tools
