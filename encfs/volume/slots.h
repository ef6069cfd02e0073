// SPDX-License-Identifier: Apache-2.0
// Changes to the key slots of an unlocked configuration (FORMAT.md "Key slots"). Pure: the caller
// serializes and writes. Each change raises the revision by one.
#pragma once

#include <cstdint>
#include <string>

#include "encfs/volume/config.h"

namespace extencfs::volume {

constexpr std::size_t kMostKeyfileBytes = 1024 * 1024;

// The secret that a key file stands for. ERRORS: kBadParameter (empty, or above
// kMostKeyfileBytes).
Result<crypto::SecretBytes> keyfile_secret(Bytes contents);

// nullptr when there is none.
const KeySlot* find_slot(const Config& config, std::uint32_t id);
// How many slots are of kinds that this program opens.
std::size_t openable_slots(const Config& config);
// memory x passes: what a guess costs.
std::uint64_t work_of(const crypto::Argon2Cost& cost);

struct NewSlot {
    SlotKind kind = SlotKind::kPassword;
    crypto::Argon2Cost cost = crypto::kArgon2Moderate;
    std::string label;
    TokenBox token;  // of tokens; what gives back the secret, 32 bytes
};

// How many slots a person opens, without a device or service that may be lost or cleared.
std::size_t slots_of_people(const Config& config);

// Adds a slot that wraps `volume_key`; returns its id, and the key of its box if it is asked for.
// ERRORS: kBadParameter (32 slots are there,
// a label that is none, kForeign, a cost out of range or too much together, a token that the format
// does not have), kNoMemory, kInternal.
Result<std::uint32_t> add_slot(Config& config, BytesN<32> volume_key, const NewSlot& slot,
                               Bytes secret, crypto::Key256* box_key = nullptr);
// Another secret, salt and cost for a slot, whose id, kind and label stay. After an error `config`
// is as it was. ERRORS: as add_slot; kBadParameter also where there is no such slot that a
// person opens.
Result<void> change_slot(Config& config, BytesN<32> volume_key, std::uint32_t id,
                         const crypto::Argon2Cost& cost, Bytes secret);
// The last slot goes too: it is for the caller to ask. ERRORS: kBadParameter (no such slot).
Result<void> remove_slot(Config& config, std::uint32_t id);

// Makes `config`, an older state of `present`, the one that follows it: by its revision, and by
// ids that are given again to nobody. ERRORS: kBadParameter (it is of another volume, or lacks a
// key generation of `present`).
Result<void> bring_back(Config& config, const Config& present);
// Raises the revision by one. ERRORS: kBadParameter (it is the last).
Result<void> next_revision(Config& config);

}  // namespace extencfs::volume
