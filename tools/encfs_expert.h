// SPDX-License-Identifier: Apache-2.0
// The questions of EncFS 1.9.5's expert mode.
#pragma once

#include "encfs/daemon/failure.h"
#include "encfs/legacy/config.h"

namespace extencfs::tools {

// ERRORS: kOther (stdin ends).
struct ExpertLimits {
    bool require_macs = false;
    bool reverse = false;  // what a reverse view can have
};
daemon::Outcome<void> ask_expert(legacy::Config& config, const ExpertLimits& limits);

}  // namespace extencfs::tools
