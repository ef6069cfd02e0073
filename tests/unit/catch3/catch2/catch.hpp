// SPDX-License-Identifier: Apache-2.0
// Catch2 3 under the name of Catch2 2's one header, which the tests include.
#pragma once
#include <string>

#include <catch2/catch_all.hpp>

namespace Catch {
inline auto Contains(const std::string& text) {
    return Matchers::ContainsSubstring(text);
}
}  // namespace Catch
