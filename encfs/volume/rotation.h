// SPDX-License-Identifier: Apache-2.0
// The configurations of a rotation of keys, its first and its last (FORMAT.md "Rotation of keys").
// Pure: the caller serializes and writes.
#pragma once

#include "encfs/volume/config.h"

namespace extencfs::volume {

// Whether things of several generations are to be expected, and nothing but a rotation may open it.
bool is_rotating(const Config& config);

struct BegunRotation {
    Config config;  // of the new volume key
    crypto::Key256 volume_key;
};

// From a configuration that `volume_key` authenticates: a new volume key and a new last generation;
// the older generations are wrapped anew. Of the slots only `slot` is kept, which `secret` opens as
// before; add_slot() can add others. ERRORS: kBadParameter (no such slot of a known kind, it is
// rotating already, 256 generations), kDamaged, kNoMemory, kInternal.
Result<BegunRotation> begin_rotation(const Config& present, BytesN<32> volume_key,
                                     std::uint32_t slot, Bytes secret);

// The configuration after it: the last generation alone. ERRORS: kBadParameter (it is not
// rotating).
Result<Config> end_rotation(const Config& rotating);

}  // namespace extencfs::volume
