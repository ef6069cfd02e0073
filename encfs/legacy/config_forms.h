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

// .encfs7
Result<Config> parse_v7_config(Bytes bytes);
std::string v7_config(const Config& config);
// ERRORS: kWrongPassword, kDamaged (its size), kUnsupported (the cost), kNoMemory, kInternal.
Result<crypto::SecretBytes> unwrap_v7_key(const Config& config, std::size_t secret_size,
                                          Bytes password);
// For tests: the program makes no such volumes. `nonce`: 12 bytes.
Result<ByteVector> wrap_v7_key(const Config& config, Bytes nonce, Bytes password, Bytes secret);

}  // namespace extencfs::legacy
