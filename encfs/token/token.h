// SPDX-License-Identifier: Apache-2.0
// Devices and services that hold a slot's secret: 32 bytes that nobody types, made once and given
// back when it is asked for in the right way (FORMAT.md "Slots of devices and services"). Knows
// nothing of slots, files or terminals; the libraries' types end here.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "crypto/secret.h"
#include "encfs/volume/config.h"

namespace extencfs::token {

enum class ErrorKind : std::uint8_t {
    kAbsent,     // no such device or program here, or not in this build
    kElsewhere,  // it is here, but another one sealed this, or it was cleared since
    kRefused,    // it does not give the secret in this state (PCRs, permissions)
    kWrongPin,   // and the device counted that; the sentence says how it stands
    kLocked,     // too many wrong PINs: it answers nobody for a while, or ever
    kTimeout,
    kFailed,
};

// `sentence`: "<what>; <what to do>", as daemon::Failure has it; never with a secret in it.
struct Error {
    ErrorKind kind;
    std::string sentence;
};
template <typename T>
using Result = std::expected<T, Error>;

// How a new secret is to be sealed; each kind of token takes what is for it.
struct Choices {
    std::string keys = "host";  // systemd: "host", "tpm2", "host+tpm2"
    std::uint32_t pcrs = 0;     // tpm2, and systemd with the TPM: bit n for PCR n
    bool pin = false;           // tpm2: a PIN is given; fido2: the device decides
};

struct Made {
    volume::TokenBox box;
    crypto::SecretBytes secret;  // 32 bytes
};

// THREADS: one at a time, and before the process has others (the environment is set).
class Token {
  public:
    virtual ~Token() = default;

    // Why it cannot be used here, as a sentence; empty where it can. Fast, and asks nobody.
    virtual std::string missing() const = 0;
    // The same for what was sealed: whether what is here may be what sealed it.
    virtual std::string missing_for(const volume::TokenBox&) const { return missing(); }
    // Whether make() needs a PIN. ERRORS: kAbsent, kFailed.
    virtual Result<bool> wants_pin(const Choices& choices) const = 0;
    // Makes a secret that only this token gives back. May wait for a touch, twice.
    virtual Result<Made> make(BytesN<16> volume_id, const Choices& choices, Bytes pin) = 0;
    // Gives it back. One call tries one PIN once. May wait for a touch.
    virtual Result<crypto::SecretBytes> open(BytesN<16> volume_id, const volume::TokenBox& box,
                                             Bytes pin) = 0;
};

// REQUIRES: volume::is_token(kind).
std::unique_ptr<Token> token_of(volume::SlotKind kind);

constexpr std::size_t kSecretSize = 32;
// ERRORS: kFailed.
Result<crypto::SecretBytes> new_secret();

// The kinds by themselves, for tests. A program that takes longer than `patience` is ended.
std::unique_ptr<Token> systemd_token(std::string program, std::chrono::milliseconds patience);
// `tcti`: what tpm2-tss calls a way to a TPM, "device:/dev/tpmrm0".
std::unique_ptr<Token> tpm2_token(std::string tcti);

}  // namespace extencfs::token
