// SPDX-License-Identifier: Apache-2.0
// What every command that opens a volume asks first: whether it is a migration that did not end.
#pragma once

#include <string>

#include "encfs/daemon/failure.h"
#include "encfs/daemon/volume_source.h"

namespace extencfs::tools {

enum class Use : bool { kRead, kWrite };

// Whether the volume at `place` may be used so: one that a migration has not filled yet not at all,
// one that was not declared complete for reading only, as the next run would go on with it. What is
// wrong there otherwise, the command itself tells better. ERRORS: kCipherDir; where it would be
// written, also kUnsupported and kDamage (of the migration's journal).
daemon::Outcome<void> check_migration(const std::string& place, const daemon::LegacyChoices& legacy,
                                      Use use);

}  // namespace extencfs::tools
