// SPDX-License-Identifier: Apache-2.0
// The dialogue in which EncFS 1.9.5 makes a new volume: questions on stdout, answers from stdin,
// line by line as front ends write them.
#pragma once

#include "encfs/daemon/failure.h"
#include "encfs/legacy/config.h"
#include "tools/encfs_options.h"

namespace extencfs::tools {

// Asks for a volume's properties (not with --standard, --paranoia) and shows what was chosen. Warns
// on stderr that EncFS is weak. ERRORS: kOther (stdin ends before the last answer).
daemon::Outcome<legacy::Config> choose_encfs_volume(const EncfsOptions& options);

}  // namespace extencfs::tools
