// SPDX-License-Identifier: Apache-2.0
// Slots of devices and services, told to people and programs.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "encfs/daemon/failure.h"
#include "encfs/token/token.h"
#include "encfs/volume/config.h"

namespace extencfs::tools {

// "sealed by the TPM, PCRs 0+7, with PIN". REQUIRES: volume::is_token(slot.kind).
std::string token_words(const volume::KeySlot& slot);
// `keys` of systemd, `pcrs` and `pin` of tpm2, `pin` of fido2; null for other kinds.
nlohmann::ordered_json token_json(const volume::KeySlot& slot);
// "the TPM", for prompts.
const char* token_name(volume::SlotKind kind);

// kWrongPassword for a wrong PIN, kToken for all else.
daemon::Failure token_failure(const token::Error& error);

}  // namespace extencfs::tools
