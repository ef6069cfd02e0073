// SPDX-License-Identifier: Apache-2.0
// `extencfs migrate --in-place`.
#pragma once

#include "tools/exit_codes.h"
#include "tools/migrate_options.h"

namespace extencfs::tools {

// Whether a migration in place was begun in that directory, or waits for its end.
bool is_in_place(const std::string& directory);
// Everything that --in-place does, and how it ends; `options.in_place`: the directory.
ExitCode run_in_place(const MigrateOptions& options);

}  // namespace extencfs::tools
