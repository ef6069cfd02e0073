// SPDX-License-Identifier: Apache-2.0
#include "tools/numbers.h"

#include <grp.h>
#include <pwd.h>

namespace extencfs::tools {
namespace {

template <typename Find>
std::optional<std::uint32_t> parse_id(const std::string& text, Find find) {
    const auto id = parse_number<std::uint32_t>(text);
    return id && *id != UINT32_MAX ? id : find(text);
}

}  // namespace

std::optional<std::uint32_t> parse_uid(const std::string& text) {
    return parse_id(text, [](const std::string& name) -> std::optional<std::uint32_t> {
        const struct passwd* found = ::getpwnam(name.c_str());
        return found ? std::optional<std::uint32_t>(found->pw_uid) : std::nullopt;
    });
}

std::optional<std::uint32_t> parse_gid(const std::string& text) {
    return parse_id(text, [](const std::string& name) -> std::optional<std::uint32_t> {
        const struct group* found = ::getgrnam(name.c_str());
        return found ? std::optional<std::uint32_t>(found->gr_gid) : std::nullopt;
    });
}

}  // namespace extencfs::tools
