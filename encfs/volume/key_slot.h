// SPDX-License-Identifier: Apache-2.0
// How the volume key and the generation keys are wrapped (FORMAT.md "Keys"). No wrapping key is
// kept after a call. Inside encfs/volume only.
#pragma once

#include "encfs/volume/config.h"

namespace extencfs::volume {

constexpr std::size_t kWrappedKeySize = 24 + 32 + 16;

// Fills slot.wrapped; returns the key of its box. REQUIRES: id, kind, and cost and salt or token
// are set. ERRORS: kBadParameter (cost), kNoMemory, kInternal.
Result<crypto::Key256> wrap_volume_key(KeySlot& slot, BytesN<16> volume_id, BytesN<32> volume_key,
                                       Bytes secret);
// The key of the slot's box. ERRORS: kBadParameter (cost), kWrongPassword (a token's secret of
// another length), kNoMemory, kInternal.
Result<crypto::Key256> slot_box_key(const KeySlot& slot, Bytes secret);
// A box key as it was kept. ERRORS: kWrongPassword (its length).
Result<crypto::Key256> kept_box_key(Bytes kept);
// ERRORS: kWrongPassword, kNoMemory, kInternal.
Result<crypto::Key256> unwrap_volume_key(const KeySlot& slot, BytesN<16> volume_id,
                                         BytesN<32> box_key);

// ERRORS: kNoMemory, kInternal; unwrapping also kDamaged.
Result<WrappedGeneration> wrap_generation(std::uint32_t number, BytesN<16> volume_id,
                                          BytesN<32> volume_key, BytesN<32> generation_key);
Result<crypto::Key256> unwrap_generation(const WrappedGeneration& generation, BytesN<16> volume_id,
                                         BytesN<32> volume_key);

}  // namespace extencfs::volume
