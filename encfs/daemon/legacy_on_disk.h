// SPDX-License-Identifier: Apache-2.0
// The configuration file of an EncFS volume: finding, reading, unlocking it. Knows nothing of the
// files in the tree.
#pragma once

#include <optional>
#include <string>

#include "crypto/secret.h"
#include "encfs/core/legacy_format.h"
#include "encfs/daemon/volume_source.h"
#include "encfs/legacy/config.h"

namespace extencfs::daemon {

struct LegacyConfig {
    std::string name;  // as it is told to the user
    std::string path;  // of the file, where it is not `name` in the volume's directory
    legacy::Config config;
    legacy::Parameters parameters;
    std::optional<std::string> text = {};  // of the file, as it was read; none: it is still to be
};

// `config_file`, else what ENCFS6_CONFIG or ENCFS5_CONFIG name, else the first of .encfs6.xml,
// .encfs5, .encfs4 and .encfs7 in the directory. None: there is none of these.
// ERRORS: kConfigRead, kDamage, kUnsupported.
Outcome<std::optional<LegacyConfig>> read_legacy_config(lower::LowerFs& fs, int root_fd,
                                                        const std::string& config_file);
// The same, by what lies in the directory alone.
Outcome<std::optional<LegacyConfig>> read_legacy_config_in(lower::LowerFs& fs, int root_fd);

// ERRORS: kWrongPassword, kDamage, kKeyDerivation, kUnsupported.
Outcome<core::LegacyVolume> unlock_legacy(const LegacyConfig& config, Bytes password,
                                          const LegacyChoices& choices);
// With the volume's key itself. ERRORS: kUnsupported.
Outcome<core::LegacyVolume> legacy_volume_with(const LegacyConfig& config, Bytes secret,
                                               const LegacyChoices& choices);

}  // namespace extencfs::daemon
