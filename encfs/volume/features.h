// SPDX-License-Identifier: Apache-2.0
// Feature flags of a volume (FORMAT.md "Feature flags"): the table of those that this program
// knows, and the combinations that no volume may have.
#pragma once

#include <span>
#include <string_view>

#include "encfs/volume/config.h"
#include "encfs/volume/error.h"

namespace extencfs::volume {

struct Feature {
    std::string_view name;
    std::string_view meaning;  // one line, for `extencfs info`
};

// Lower names in base32hex, for lower file systems that fold case.
inline constexpr std::string_view kFeatureBase32Names = "base32-names";
// Things of several key generations: nobody but a rotation of keys may open it (rotation.h).
inline constexpr std::string_view kFeatureKeyRotation = "key-rotation";

std::span<const Feature> known_features();

// The flags that a configuration with these choices must carry, ascending.
std::vector<std::string> features_for(NameEncoding encoding);

// ERRORS: kUnsupported (a flag that this program does not know: named), kDamaged (a flag given
// twice, out of order, or an illegal combination: named).
Result<void> validate(std::span<const std::string> features);
Result<void> validate(const Config& config);

}  // namespace extencfs::volume
