// SPDX-License-Identifier: Apache-2.0
#include "tools/token_words.h"

#include "encfs/token/pcrs.h"

namespace extencfs::tools {

using volume::SlotKind;

const char* token_name(SlotKind kind) {
    switch (kind) {
        case SlotKind::kSystemd:
            return "systemd";
        case SlotKind::kTpm2:
            return "the TPM";
        case SlotKind::kFido2:
            return "the security key";
        default:
            return "nobody";
    }
}

std::string token_words(const volume::KeySlot& slot) {
    std::string words =
        slot.kind == SlotKind::kFido2 ? "held by a security key"
        : slot.kind == SlotKind::kTpm2
            ? "sealed by the TPM"
            : "sealed by systemd (" + std::string(volume::sealing_keys(slot.token.sealed)) + ")";
    if (slot.token.pcrs != 0) words += ", PCRs " + token::pcr_text(slot.token.pcrs);
    if (slot.token.pin) words += ", with PIN";
    return words;
}

nlohmann::ordered_json token_json(const volume::KeySlot& slot) {
    nlohmann::ordered_json out;
    if (!volume::is_token(slot.kind)) return out;
    if (slot.kind == SlotKind::kSystemd) {
        out["keys"] = volume::sealing_keys(slot.token.sealed);
        return out;
    }
    if (slot.kind == SlotKind::kTpm2) {
        out["pcrs"] = nlohmann::ordered_json::array();
        for (std::uint32_t pcr = 0; pcr < volume::kPcrCount; ++pcr) {
            if ((slot.token.pcrs >> pcr & 1U) != 0) out["pcrs"].push_back(pcr);
        }
    }
    out["pin"] = slot.token.pin;
    return out;
}

daemon::Failure token_failure(const token::Error& error) {
    return {error.kind == token::ErrorKind::kWrongPin ? daemon::FailureKind::kWrongPassword
                                                      : daemon::FailureKind::kToken,
            error.sentence};
}

}  // namespace extencfs::tools
