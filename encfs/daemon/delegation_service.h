// SPDX-License-Identifier: Apache-2.0
// The service that loads the kernel fast path for mounts of ordinary users (ADR 0010). Started by
// the administrator; a process of one thread accepts, counts and starts a worker process for each
// client (delegation_worker.h). The workers end with it.
#pragma once

#include <sys/types.h>

#include <optional>

#include "encfs/daemon/delegation_ledger.h"
#include "encfs/daemon/failure.h"

namespace extencfs::daemon {

struct DelegationOptions {
    std::optional<gid_t> group;  // who may ask; nothing: everybody
    DelegationLimits limits;
};

// Serves until SIGTERM or SIGINT; says on standard error what it does. REQUIRES: one thread.
// ERRORS: kFastPath (this machine or process cannot load the programs), kControl (no socket, or
// another one runs).
Outcome<void> serve_delegation(const DelegationOptions& options);

}  // namespace extencfs::daemon
