// SPDX-License-Identifier: Apache-2.0
// What a slot of a device or service keeps for it (FORMAT.md "Slots of devices and services").
// Plain data: who seals and opens it is encfs/token.
#pragma once

#include <cstdint>
#include <string_view>

#include "crypto/bytes.h"

namespace extencfs::volume {

constexpr std::size_t kMostSealed = 4096;
constexpr std::size_t kMostCredentialId = 1024;  // of fido2
constexpr std::uint32_t kPcrCount = 24;

struct TokenBox {
    ByteVector sealed;       // a credential, a sealed object, or a credential's id
    ByteArray<32> salt{};    // of fido2
    std::uint32_t pcrs = 0;  // of tpm2: bit n for PCR n
    bool pin = false;        // of tpm2 and fido2
};

// Which keys sealed a credential of systemd-creds, by its first bytes: "host", "tpm2", "host+tpm2";
// empty for every other, and for those that no key sealed.
std::string_view sealing_keys(Bytes credential);

}  // namespace extencfs::volume
