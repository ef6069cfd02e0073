// SPDX-License-Identifier: Apache-2.0
// Internal to encfs/legacy: how a configuration is written.
#pragma once

#include <string>
#include <string_view>

#include "encfs/legacy/config.h"

namespace extencfs::legacy {

// The first version of a configuration that any release since 1.0 reads.
constexpr std::int64_t kFirstSubVersion = 20040813;
// From here on: salt and iterations.
constexpr std::int64_t kSaltSubVersion = 20080816;
// Without them, EncFS takes this many where it needs a number at all.
constexpr std::uint32_t kOldIterations = 16;

// .encfs6.xml
Result<Config> parse_xml_config(std::string_view text);
std::string xml_config(const Config& config);

// .encfs5, .encfs4. REQUIRES: `format` is one of them.
Result<Config> parse_binary_config(ConfigFormat format, Bytes bytes);
std::string binary_config(const Config& config);

}  // namespace extencfs::legacy
