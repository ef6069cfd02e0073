// SPDX-License-Identifier: Apache-2.0
#include "encfs/token/token.h"

#include <cstdlib>

#include "crypto/random.h"
#include "encfs/token/fido2_device.h"

namespace extencfs::token {
namespace {

constexpr std::chrono::seconds kProgramPatience{30};
constexpr const char* kSystemdCreds = "/usr/bin/systemd-creds";
// Never the library's own search: without a chip that tries a port on this machine, on which any
// user could answer.
constexpr const char* kTpm = "device:/dev/tpmrm0";

}  // namespace

std::unique_ptr<Token> token_of(volume::SlotKind kind) {
    switch (kind) {
        case volume::SlotKind::kSystemd:
            return systemd_token(kSystemdCreds, kProgramPatience);
        case volume::SlotKind::kTpm2: {
            const char* named = secure_getenv("EXTENCFS_TPM2");
            return tpm2_token(named != nullptr && *named != '\0' ? named : kTpm);
        }
        case volume::SlotKind::kFido2:
            return fido2_token(fido2_devices());
        default:
            return nullptr;
    }
}

Result<crypto::SecretBytes> new_secret() {
    crypto::SecretBytes secret(kSecretSize);
    if (crypto::fill_random(secret.mutable_bytes())) return secret;
    return std::unexpected(
        Error{ErrorKind::kFailed, "the kernel gives no random bytes; try again"});
}

}  // namespace extencfs::token
