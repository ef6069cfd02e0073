// SPDX-License-Identifier: Apache-2.0
#include "tools/kdf_choice.h"

#include <CLI/CLI.hpp>
#include <map>

#include "encfs/volume/slots.h"

namespace extencfs::tools {
namespace {

constexpr std::uint32_t kTarget_ms = 1000;

const std::map<std::string, crypto::Argon2Cost>& named_costs() {
    static const std::map<std::string, crypto::Argon2Cost> costs{
        {"interactive", crypto::kArgon2Interactive},
        {"moderate", crypto::kArgon2Moderate},
        {"sensitive", crypto::kArgon2Sensitive},
    };
    return costs;
}

}  // namespace

void add_kdf_option(CLI::App& command, std::string& name) {
    command
        .add_option("--kdf", name,
                    "Cost of a password guess: auto (measured, about a second), interactive "
                    "(64 MiB), moderate (256 MiB) or sensitive (1 GiB)")
        ->check(CLI::IsMember({"auto", "interactive", "moderate", "sensitive"}, CLI::ignore_case))
        ->type_name("NAME")
        ->capture_default_str();
}

crypto::Argon2Cost chosen_cost(const std::string& name) {
    const auto found = named_costs().find(name);
    return found == named_costs().end() ? crypto::calibrate_argon2(kTarget_ms) : found->second;
}

crypto::Argon2Cost upgraded_cost(const std::string& name, const crypto::Argon2Cost& before) {
    const crypto::Argon2Cost cost = chosen_cost(name);
    const bool measured = !named_costs().contains(name);
    return measured && volume::work_of(cost) < volume::work_of(before) ? before : cost;
}

}  // namespace extencfs::tools
