// SPDX-License-Identifier: Apache-2.0
// Whose names lie in a volume's root: the only thing that tells which keys belong to a volume that
// has lost its configuration.
#pragma once

#include <cstddef>

#include "encfs/lower/lower_fs.h"
#include "encfs/volume/volume_keys.h"

namespace extencfs::daemon {

struct RootNames {
    std::size_t ours = 0;     // names that these keys sealed
    std::size_t others = 0;   // names of this format, which they did not
    std::size_t foreign = 0;  // what no volume makes, but for its files with reserved names
};

// ERRORS: errno of the listing.
lower::Result<RootNames> count_root_names(lower::LowerFs& fs, int root_fd,
                                          const volume::VolumeKeys& keys);

}  // namespace extencfs::daemon
