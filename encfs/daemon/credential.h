// SPDX-License-Identifier: Apache-2.0
// What somebody gave to open a volume with, in locked memory.
#pragma once

#include <optional>
#include <utility>

#include "crypto/secret.h"
#include "encfs/volume/config.h"

namespace extencfs::daemon {

// A password alone converts.
struct Credential {
    // NOLINTNEXTLINE(google-explicit-constructor)
    Credential(crypto::SecretBytes password) : secret(std::move(password)) {}
    Credential(volume::SlotKind of_kind, crypto::SecretBytes bytes)
        : kind(of_kind), secret(std::move(bytes)) {}

    // Valid while this lives.
    volume::OpeningSecret view() const {
        volume::OpeningSecret given(kind, secret.bytes(), slot);
        given.is_box_key = is_box_key;
        return given;
    }

    volume::SlotKind kind = volume::SlotKind::kPassword;
    crypto::SecretBytes secret;
    std::optional<std::uint32_t> slot;  // only this one is to be tried
    bool is_box_key = false;            // the key of that slot's box, which was kept
};

}  // namespace extencfs::daemon
