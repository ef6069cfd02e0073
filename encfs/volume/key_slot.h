// SPDX-License-Identifier: Apache-2.0
// How the volume key and the generation keys are wrapped (FORMAT.md "Keys"). No wrapping key is
// kept after a call. Inside encfs/volume only.
#pragma once

#include "encfs/volume/config.h"

namespace extencfs::volume {

constexpr std::size_t kWrappedKeySize = 24 + 32 + 16;

// Fills slot.wrapped. REQUIRES: id, kind, cost and salt are set.
// ERRORS: kBadParameter (cost), kNoMemory, kInternal.
Result<void> wrap_volume_key(KeySlot& slot, BytesN<16> volume_id, BytesN<32> volume_key,
                             Bytes secret);
// ERRORS: kWrongPassword, kBadParameter (cost), kNoMemory, kInternal.
Result<crypto::Key256> unwrap_volume_key(const KeySlot& slot, BytesN<16> volume_id, Bytes secret);

// ERRORS: kNoMemory, kInternal; unwrapping also kDamaged.
Result<WrappedGeneration> wrap_generation(std::uint32_t number, BytesN<16> volume_id,
                                          BytesN<32> volume_key, BytesN<32> generation_key);
Result<crypto::Key256> unwrap_generation(const WrappedGeneration& generation, BytesN<16> volume_id,
                                         BytesN<32> volume_key);

}  // namespace extencfs::volume
