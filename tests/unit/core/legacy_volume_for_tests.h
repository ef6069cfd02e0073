// SPDX-License-Identifier: Apache-2.0
// EncFS volumes of several kinds for tests of core; their key is that of the vectors.
#pragma once

#include <string>
#include <vector>

#include "encfs/core/legacy_format.h"
#include "tests/unit/legacy/keys.h"

namespace extencfs::core {

inline LegacyVolume legacy_volume(const legacy::ContentLayout& layout,
                                  legacy::NameScheme names = legacy::NameScheme::kBlock,
                                  bool chained = true, bool files = false) {
    static const auto key = legacy::aes_key();
    LegacyVolume volume;
    volume.key = key;
    volume.parameters.cipher = key->spec();
    volume.parameters.names = {.scheme = names, .major = 3, .chained = chained};
    if (names == legacy::NameScheme::kStream) volume.parameters.names.major = 2;
    if (names == legacy::NameScheme::kNull) volume.parameters.names.major = 1;
    volume.parameters.contents = layout;
    volume.parameters.path_in_header = files;
    return volume;
}

struct LegacyKind {
    std::string name;
    LegacyVolume volume;
};

// block size, MAC, random bytes, header, holes, plain.
inline std::vector<LegacyKind> legacy_kinds() {
    using legacy::NameScheme;
    return {
        {"standard", legacy_volume({1024, 0, 0, true, true, false})},
        {"paranoia",
         legacy_volume({1024, 8, 0, true, true, false}, NameScheme::kBlock, true, true)},
        {"small, MAC and random, no holes",
         legacy_volume({64, 8, 8, true, false, false}, NameScheme::kStream, true, true)},
        {"random only, no header",
         legacy_volume({128, 0, 3, false, true, false}, NameScheme::kBlock32, false, false)},
        {"MAC of 1 byte, no header, no holes",
         legacy_volume({64, 1, 0, false, false, false}, NameScheme::kBlock, false, false)},
        {"large", legacy_volume({4096, 8, 8, true, true, false}, NameScheme::kNull, false, false)},
        {"plain", legacy_volume({1024, 0, 0, true, true, true})},
    };
}

}  // namespace extencfs::core
