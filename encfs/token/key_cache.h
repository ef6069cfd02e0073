// SPDX-License-Identifier: Apache-2.0
// Keys of slots' boxes, kept in the user's keyring of the kernel for a time that was asked for
// (FORMAT.md "Cached keys"). Who runs programs as this user can read them; nobody else can.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "crypto/secret.h"
#include "encfs/token/token.h"

namespace extencfs::token {

struct CachedKey {
    std::uint32_t slot = 0;
    std::uint64_t revision = 0;  // of the configuration when the slot was opened
    crypto::Key256 box_key;
};

// Nothing where none is kept, its time is over, or it is not what this program keeps.
// THREADS of all three: any.
std::optional<CachedKey> cached_key(BytesN<16> volume_id);
// Takes the place of the one that is kept. There is no moment at which the kernel has the key
// without its end. ERRORS: kAbsent (no keyrings here), kFailed (quota).
Result<void> cache_key(BytesN<16> volume_id, const CachedKey& key, std::chrono::seconds time);
// Whether there was one. ERRORS: kFailed (it cannot be taken away).
Result<bool> forget_key(BytesN<16> volume_id);

}  // namespace extencfs::token
