// SPDX-License-Identifier: Apache-2.0
// The verbs of `encfsctl`. Each is given the words after its name, and returns the exit code.
#pragma once

#include <span>
#include <string>

#include "encfs/daemon/failure.h"

namespace extencfs::tools {

using Words = std::span<char* const>;

// Says on stderr when `path` is no directory.
bool encfsctl_has_directory(const std::string& path);
// Where and how EncFS tells it; returns the exit code.
int encfsctl_tell(const daemon::Failure& failure);

// encfsctl_key.cc: of the configuration.
int encfsctl_info(Words words);
int encfsctl_show_key(Words words);
int encfsctl_passwd(Words words);
int encfsctl_auto_passwd(Words words);
int encfsctl_auto_check_passwd(Words words);

// encfsctl_tree.cc: of what is in the volume.
int encfsctl_ls(Words words);
int encfsctl_show_cruft(Words words);
int encfsctl_cat(Words words);
int encfsctl_decode(Words words);
int encfsctl_encode(Words words);
int encfsctl_export(Words words);

}  // namespace extencfs::tools
