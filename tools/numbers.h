// SPDX-License-Identifier: Apache-2.0
// Words of the command line that stand for numbers.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>

namespace extencfs::tools {

// The whole text as a number.
template <typename Number>
std::optional<Number> parse_number(const std::string& text) {
    Number number{};
    const char* const last = text.data() + text.size();
    const auto [end, error] = std::from_chars(text.data(), last, number);
    if (error != std::errc{} || end != last) return std::nullopt;
    return number;
}

// A number or a name of this machine's users or groups; nothing where there is none.
std::optional<std::uint32_t> parse_uid(const std::string& text);
std::optional<std::uint32_t> parse_gid(const std::string& text);

}  // namespace extencfs::tools
