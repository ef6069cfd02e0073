// SPDX-License-Identifier: Apache-2.0
// Removing a lower directory with everything in it.
#pragma once

#include <string>

#include "encfs/lower/lower_fs.h"

namespace extencfs::migrate {

// What is at a name, and everything below it. ERRORS: ENOENT where nothing is.
lower::Result<void> remove_entry(lower::LowerFs& fs, int dirfd, const std::string& name);
// Everything in a directory but `keep`. Can be cut short, and run again.
lower::Result<void> remove_below(lower::LowerFs& fs, int dirfd, const std::string& keep);

}  // namespace extencfs::migrate
