// SPDX-License-Identifier: Apache-2.0
// The option --kdf: what each guess of a new password is to cost.
#pragma once

#include <string>

#include "crypto/password_kdf.h"

namespace CLI {
class App;
}

namespace extencfs::tools {

// Measured, so that it takes about a second here.
inline constexpr const char* kDefaultKdf = "auto";

void add_kdf_option(CLI::App& command, std::string& name);
// Of a name that the option takes. "auto" measures for as long as a few derivations take.
crypto::Argon2Cost chosen_cost(const std::string& name);
// The same for a secret that takes the place of one that cost `before`: "auto" is never cheaper.
crypto::Argon2Cost upgraded_cost(const std::string& name, const crypto::Argon2Cost& before);

}  // namespace extencfs::tools
