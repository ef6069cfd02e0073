// SPDX-License-Identifier: Apache-2.0
// What EncFS 1.9.5 says of a volume's configuration, line by line. Pure.
#pragma once

#include <string>

#include "encfs/legacy/config.h"

namespace extencfs::tools {

// From "Filesystem cipher:" to the last feature, each line with its newline.
std::string encfs_properties(const legacy::Config& config);
// The first line: the configuration's version and maker. Without a newline; what it says was read
// from disk.
std::string encfs_version_line(const legacy::Config& config);

}  // namespace extencfs::tools
