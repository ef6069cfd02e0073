// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/token_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "crypto/encoding.h"
#include "encfs/volume/json_reader.h"

namespace extencfs::volume {
namespace {

using nlohmann::json;

struct CredentialType {
    std::string_view id;  // the first 16 bytes, in hexadecimal
    std::string_view keys;
};
// systemd's src/shared/creds-util.h.
constexpr std::array kCredentialTypes{
    CredentialType{"5a1c6a86df9d4096b1d5a65e0862f19a", "host"},
    CredentialType{"0c7cc07b117645919c4b0bea08bc20fe", "tpm2"},
    CredentialType{"93a894094874449090caf2fc93cab553", "host+tpm2"},
};
constexpr std::size_t kTypeSize = 16;

}  // namespace

std::string_view sealing_keys(Bytes credential) {
    if (credential.size() <= kTypeSize) return {};
    const std::string id = crypto::hex_encode(credential.first(kTypeSize));
    const auto* known = std::ranges::find(kCredentialTypes, id, &CredentialType::id);
    return known == kCredentialTypes.end() ? std::string_view{} : known->keys;
}

json token_json(SlotKind kind, const TokenBox& token) {
    json out{{"sealed", crypto::base64url_encode(token.sealed)}};
    if (kind == SlotKind::kTpm2) out["pcrs"] = token.pcrs;
    if (kind == SlotKind::kFido2) out["salt"] = crypto::base64url_encode(token.salt);
    if (kind != SlotKind::kSystemd) out["pin"] = token.pin;
    return out;
}

TokenBox read_token(SlotKind kind, const json& value, const std::string& where, Problem& problem) {
    ObjectReader in(value, where, problem);
    TokenBox token;
    token.sealed =
        in.some_bytes("sealed", kind == SlotKind::kFido2 ? kMostCredentialId : kMostSealed);
    if (kind == SlotKind::kTpm2) {
        token.pcrs = static_cast<std::uint32_t>(in.number("pcrs", 0, (1U << kPcrCount) - 1));
    }
    if (kind == SlotKind::kFido2) token.salt = in.byte_array<32>("salt");
    if (kind != SlotKind::kSystemd) token.pin = in.truth("pin");
    if (kind == SlotKind::kSystemd && sealing_keys(token.sealed).empty()) {
        problem.damaged(in.path("sealed"), "no key of this machine sealed it");
    }
    in.no_other_members();
    return token;
}

bool is_sound_token(SlotKind kind, const TokenBox& token) {
    Problem problem;
    const json value = token_json(kind, token);
    (void)read_token(kind, value, "token", problem);
    return !problem.seen();
}

}  // namespace extencfs::volume
