// SPDX-License-Identifier: Apache-2.0
// Failures to open a volume, with what can be told when one looks again at what was given.
#pragma once

#include <cstdint>
#include <string>

#include "encfs/daemon/failure.h"
#include "encfs/volume/config.h"
#include "tools/exit_codes.h"
#include "tools/key_source.h"

namespace extencfs::tools {

// What a command opens: a volume of EncFS is told as one only where it cannot be used.
enum class Takes : std::uint8_t { kOwnVolumes, kBothKinds };

// `failure`; where `directory` is the mountpoint of a volume, or a volume of EncFS, that in place
// of it.
daemon::Failure advised(daemon::Failure failure, const std::string& directory, Takes takes);

// `failure`, of opening `config`; where that has no slot that could be opened, that.
daemon::Failure of_no_slot(daemon::Failure failure, const volume::Config& config);

// After a wrong password: a notice where its file has something in it that is not seen.
void hint_at_password(const daemon::Failure& failure, const UnlockOptions& given);

// tell() with all that.
ExitCode tell_unopened(const daemon::Failure& failure, const UnlockOptions& given,
                       const std::string& directory, Takes takes);

}  // namespace extencfs::tools
