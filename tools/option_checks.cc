// SPDX-License-Identifier: Apache-2.0
#include "tools/option_checks.h"

#include <cstdint>

#include "tools/numbers.h"

namespace extencfs::tools {

std::string not_empty(const std::string& text) {
    return text.empty() ? "what it is given is empty, give something or leave the option out" : "";
}

std::string no_hyphen(const std::string& text) {
    return text == "-" ? "it is written to a file only, name one ('./-' if you mean that)" : "";
}

std::string slot_number(const std::string& text) {
    // With a zero before it the number would be read as an octal one.
    if (!text.starts_with('0') && parse_number<std::uint32_t>(text)) return "";
    return "'" + text + "' is no number of a key slot, as 'extencfs key list' shows them";
}

}  // namespace extencfs::tools
