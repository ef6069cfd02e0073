// SPDX-License-Identifier: Apache-2.0
// The directories of a new volume, while a migration fills them.
#pragma once

#include <string>

#include "encfs/core/filesystem.h"
#include "encfs/migrate/node_ref.h"

namespace extencfs::migrate {

// Makes one, with a mode in which it can be filled. ERRORS: those of mkdir.
core::Result<Found> make_directory(core::Filesystem& to, core::NodeId parent,
                                   const std::string& name);
// The same where an earlier run may have been: its directory is used on, in a mode in which it can
// be filled, and anything else of that name removed. ERRORS: those of mkdir, unlink and setattr.
core::Result<Found> make_directory_again(core::Filesystem& to, core::NodeId parent,
                                         const std::string& name);

}  // namespace extencfs::migrate
