// SPDX-License-Identifier: Apache-2.0
// Copies a volume's tree, decrypted, to a directory.
#pragma once

#include <string>

#include "tools/volume_tree.h"

namespace extencfs::tools {

// Writes the bytes of a file to a descriptor. False when writing failed (errno) .
bool write_all(int fd, Bytes bytes);

// Into `target`, a directory that is there. What is there by the same name is replaced if it is no
// directory. Modes and times are kept, special files left out. What cannot be read or written is
// told on stderr and passed over. Returns whether all was exported.
bool export_tree(VolumeTree& tree, const std::string& target);

}  // namespace extencfs::tools
