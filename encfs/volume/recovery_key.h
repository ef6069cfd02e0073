// SPDX-License-Identifier: Apache-2.0
// Recovery keys as people read, write and type them (FORMAT.md "Key slots"): 8 groups of 5
// characters, each with a check digit. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "crypto/secret.h"
#include "encfs/volume/error.h"

namespace extencfs::volume {

constexpr std::size_t kRecoveryBytes = 20;
constexpr std::size_t kRecoveryGroups = 8;
constexpr std::size_t kRecoveryGroupSize = 5;
// With the hyphens between groups.
constexpr std::size_t kRecoveryTextSize = kRecoveryGroups * (kRecoveryGroupSize + 1) - 1;

// A new one, 160 random bits. ERRORS: kInternal.
Result<crypto::SecretBytes> new_recovery_key();

// "7K2QX-...": kRecoveryTextSize characters, in locked memory. REQUIRES: kRecoveryBytes.
crypto::SecretBytes recovery_text(Bytes key);

// Takes lower case, white space and hyphens anywhere, O for 0, I and L for 1.
// ERRORS: kBadParameter; its detail names the groups that are wrong, never what they are.
Result<crypto::SecretBytes> parse_recovery_key(Bytes text);

}  // namespace extencfs::volume
