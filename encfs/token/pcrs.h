// SPDX-License-Identifier: Apache-2.0
// Sets of a TPM's registers (PCRs) as people and programs write them: "0+7". Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "encfs/volume/token_box.h"

namespace extencfs::token {

// "0+7" of bits 0 and 7; empty for none.
inline std::string pcr_text(std::uint32_t pcrs) {
    std::string text;
    for (std::uint32_t pcr = 0; pcr < volume::kPcrCount; ++pcr) {
        if ((pcrs >> pcr & 1U) != 0) text += (text.empty() ? "" : "+") + std::to_string(pcr);
    }
    return text;
}

// Numbers from 0 to 23 with `+` or `,` between; nothing for any other text.
inline std::optional<std::uint32_t> parse_pcrs(std::string_view text) {
    std::uint32_t pcrs = 0;
    while (!text.empty()) {
        std::uint32_t pcr = 0;
        std::size_t digits = 0;
        while (digits < text.size() && digits < 2 && text[digits] >= '0' && text[digits] <= '9') {
            pcr = pcr * 10 + static_cast<std::uint32_t>(text[digits++] - '0');
        }
        if (digits == 0 || pcr >= volume::kPcrCount) return std::nullopt;
        pcrs |= 1U << pcr;
        text.remove_prefix(digits);
        if (text.empty()) return pcrs;
        if ((text.front() != '+' && text.front() != ',') || text.size() == 1) return std::nullopt;
        text.remove_prefix(1);
    }
    return std::nullopt;
}

}  // namespace extencfs::token
