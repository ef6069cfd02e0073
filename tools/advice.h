// SPDX-License-Identifier: Apache-2.0
// Failures to open a volume, with what can be told when one looks again at what was given.
#pragma once

#include <string>

#include "encfs/daemon/failure.h"
#include "encfs/volume/config.h"
#include "tools/exit_codes.h"
#include "tools/key_source.h"

namespace extencfs::tools {

// `failure`, of a command that takes volumes of this program's own only; where `directory` is a
// volume of EncFS, or the mountpoint of one, that in place of it.
daemon::Failure advised(daemon::Failure failure, const std::string& directory);

// `failure`, of opening `config`; where that has no slot that could be opened, that.
daemon::Failure of_no_slot(daemon::Failure failure, const volume::Config& config);

// After a wrong password: a notice where its file has something in it that is not seen.
void hint_at_password(const daemon::Failure& failure, const UnlockOptions& given);

// tell() with all that.
ExitCode tell_unopened(const daemon::Failure& failure, const UnlockOptions& given,
                       const std::string& directory);

}  // namespace extencfs::tools
