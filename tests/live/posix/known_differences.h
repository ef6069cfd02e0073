// SPDX-License-Identifier: Apache-2.0
// The deliberate differences between the mount and its lower file system, each with its reason.
// Anything not listed here is a failure. Keep it tiny.
#pragma once

#include <string_view>

namespace extencfs::conformance {

// The reason, or nullptr when `upper` against `lower` in this case is not a known difference.
const char* known_difference(std::string_view case_name, std::string_view upper,
                             std::string_view lower);

}  // namespace extencfs::conformance
