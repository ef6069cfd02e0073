// SPDX-License-Identifier: Apache-2.0
// The member `token` of a slot (FORMAT.md "Slots of devices and services"). Inside encfs/volume
// only.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "encfs/volume/config.h"

namespace extencfs::volume {

class Problem;

// REQUIRES of all three: is_token(kind).
nlohmann::json token_json(SlotKind kind, const TokenBox& token);
TokenBox read_token(SlotKind kind, const nlohmann::json& value, const std::string& where,
                    Problem& problem);
// Whether the format has it: what read_token() takes.
bool is_sound_token(SlotKind kind, const TokenBox& token);

}  // namespace extencfs::volume
