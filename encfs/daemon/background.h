// SPDX-License-Identifier: Apache-2.0
// Going to the background without losing an error. The fork comes first, before the password: locks
// on memory do not pass through fork(2), so the process that derives the keys must be the one that
// serves. The command waits until the child says "mounted" or why not, hands on the signals that it
// gets, and repeats the child's answer as its own.
#pragma once

#include <functional>

#include "encfs/daemon/failure.h"

namespace extencfs::daemon {

using Ready = std::function<void()>;
// Serves until done; calls Ready once, when the mount is usable.
using Service = std::function<Outcome<void>(const Ready&)>;

// Runs `service` in a child process and returns, in the parent only, once the child is ready or has
// failed. The child keeps the terminal (to prompt) until it is ready; then it becomes a session of
// its own, in "/", with stdin, stdout and stderr on /dev/null, and lets go of all descriptors that
// the command was started with. When the child is killed by a terminal signal while it prompts, the
// parent dies by the same one. REQUIRES: one thread, and no descriptor opened by this process that
// the service needs. ERRORS: the service's own; kDaemonDied; kOther (fork or pipe).
Outcome<void> run_in_background(const Service& service);

}  // namespace extencfs::daemon
