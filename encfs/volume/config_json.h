// SPDX-License-Identifier: Apache-2.0
// The JSON forms of a configuration (FORMAT.md "Configuration"). Inside encfs/volume only.
#pragma once

#include <string>
#include <string_view>

#include "encfs/volume/config.h"

namespace extencfs::volume {

constexpr std::size_t kMaxConfigText = 1024 * 1024;
constexpr std::size_t kMaxSlots = 32;
constexpr std::size_t kMaxGenerations = 256;
constexpr std::size_t kMaxLabel = 128;  // bytes of UTF-8
// The largest whole number that every JSON reader keeps exactly.
constexpr std::uint64_t kMaxNumber = (std::uint64_t{1} << 53) - 1;

// Members in ascending order, no spaces, without `auth`: what the MAC covers.
std::string canonical_config(const Config& config);
// {"id":..,"kdf":{..},"kind":..,"salt":..} in the same form; of tokens
// {"id":..,"kind":..,"token":..}.
std::string canonical_slot_parameters(const KeySlot& slot);
// The file: indented where that fits, with `auth` as it stands in `config`.
std::string readable_config(const Config& config);

// "password" and so on. REQUIRES: not kForeign.
std::string_view slot_kind_name(SlotKind kind);

// UTF-8 of at most kMaxLabel bytes without control characters.
bool is_label(std::string_view text);
// What all slots together may cost to try: no more than one slot at the highest cost.
bool total_cost_is_acceptable(const std::vector<KeySlot>& slots);

}  // namespace extencfs::volume
