// SPDX-License-Identifier: Apache-2.0
// FIDO2 authenticators as far as a slot needs them: the seam between libfido2, or a fake one, and
// the token. Inside encfs/token and its tests only.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "encfs/token/token.h"

namespace extencfs::token {

struct Fido2Device {
    std::string path;
    bool has_pin = false;      // a PIN is set on it
    bool hmac_secret = false;  // it can do what a slot needs
};

class Fido2Devices {
  public:
    virtual ~Fido2Devices() = default;

    // Why there are none at all in this build; empty otherwise.
    virtual std::string missing() const = 0;
    // Those that are plugged in. ERRORS: kFailed.
    virtual Result<std::vector<Fido2Device>> list() = 0;
    // A new credential, not kept on the device; its id. Waits for a touch. An empty PIN is none.
    // ERRORS: kWrongPin, kLocked, kTimeout, kRefused, kFailed.
    virtual Result<ByteVector> make_credential(const std::string& path, Bytes pin) = 0;
    // Whether the device made this credential. Neither touch nor PIN.
    virtual bool holds(const std::string& path, Bytes credential) = 0;
    // 32 bytes that follow from credential and salt; others with a PIN than without. Waits for a
    // touch. ERRORS: as make_credential, and kElsewhere (not its credential).
    virtual Result<crypto::SecretBytes> hmac_secret(const std::string& path, Bytes credential,
                                                    BytesN<32> salt, Bytes pin) = 0;
};

// libfido2's.
std::unique_ptr<Fido2Devices> fido2_devices();
std::unique_ptr<Token> fido2_token(std::unique_ptr<Fido2Devices> devices);

}  // namespace extencfs::token
