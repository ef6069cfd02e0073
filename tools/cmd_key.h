// SPDX-License-Identifier: Apache-2.0
// The parts of the command `key`. Inside tools only.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "encfs/volume/config.h"

namespace extencfs::tools {

// cmd_key_change.cc: add, change and remove below `key`, and passwd below `root`.
void add_key_change_commands(CLI::App& root, CLI::App& key, int& exit_code);
// cmd_key_header.cc: export-header and import-header.
void add_key_header_commands(CLI::App& key, int& exit_code);
// cmd_key_rotate.cc: rotate.
void add_key_rotate_command(CLI::App& key, int& exit_code);

// `key slot 2 (keyfile, "laptop")`, fit to print.
std::string slot_words(const volume::KeySlot& slot);

}  // namespace extencfs::tools
