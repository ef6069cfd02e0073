// SPDX-License-Identifier: Apache-2.0
// What a person chooses for a new volume: the cipher of its contents, and the cost of a password
// guess.
#pragma once

#include <string>

#include "encfs/volume/config.h"
#include "tools/kdf_choice.h"

namespace CLI {
class App;
}

namespace extencfs::tools {

struct VolumeChoice {
    std::string cipher = "auto";
    std::string kdf = kDefaultKdf;
};

// Adds --cipher and --kdf to a command.
void add_volume_options(CLI::App& command, VolumeChoice& choice);
// As volume::new_config() takes it, with one password slot.
volume::NewVolume new_volume(const VolumeChoice& choice);

}  // namespace extencfs::tools
