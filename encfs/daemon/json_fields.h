// SPDX-License-Identifier: Apache-2.0
// Members of a JSON object that another process sent: of the right type, or what stands for none.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

namespace extencfs::daemon {

inline std::uint64_t number_of(const nlohmann::ordered_json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}
inline bool flag_of(const nlohmann::ordered_json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_boolean() && found->get<bool>();
}
inline std::string words_of(const nlohmann::ordered_json& object, const char* name) {
    const auto found = object.find(name);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace extencfs::daemon
