// SPDX-License-Identifier: Apache-2.0
// From a password to a key: Argon2id version 1.3 (RFC 9106), by libargon2.
#pragma once

#include <cstdint>

#include "crypto/bytes.h"
#include "crypto/error.h"
#include "crypto/secret.h"

namespace extencfs::crypto {

struct Argon2Cost {
    std::uint32_t memory_kib;
    std::uint32_t passes;
    std::uint32_t lanes;
};

// What a configuration may ask for. Checked BEFORE running: a hostile file must not be able to
// exhaust memory or time. 8 MiB..4 GiB, 1..64 passes, 1..16 lanes, memory >= 8 KiB * lanes.
constexpr Argon2Cost kArgon2Least{8 * 1024, 1, 1};
constexpr Argon2Cost kArgon2Most{4 * 1024 * 1024, 64, 16};
bool argon2_cost_is_acceptable(const Argon2Cost& cost);

// Presets of `--kdf`: interactive (64 MiB, 3 passes), moderate (256 MiB, 3), sensitive (1 GiB, 4);
// 4 lanes each.
constexpr Argon2Cost kArgon2Interactive{64 * 1024, 3, 4};
constexpr Argon2Cost kArgon2Moderate{256 * 1024, 3, 4};
constexpr Argon2Cost kArgon2Sensitive{1024 * 1024, 4, 4};

// Fills `out` (32 bytes). Uses `lanes` threads. `salt` of 16 to 64 bytes.
// ERRORS: kBadParameter (cost out of range), kNoMemory, kInternal.
[[nodiscard]] Result<void> argon2id(Bytes password, Bytes salt, const Argon2Cost& cost,
                                    MutBytesN<32> out);

// Measures this machine and picks a cost that takes about `target_ms`, between kArgon2Interactive
// and kArgon2Sensitive in memory, never more than a quarter of the machine's memory.
// Takes a few times target_ms at most.
Argon2Cost calibrate_argon2(std::uint32_t target_ms);

}  // namespace extencfs::crypto
