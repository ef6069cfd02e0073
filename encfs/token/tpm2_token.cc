// SPDX-License-Identifier: Apache-2.0
// A secret sealed by a TPM: in the slot, and readable by that chip alone.
#include <tss2/tss2_mu.h>

#include <unistd.h>

#include <algorithm>

#include "crypto/kdf.h"
#include "encfs/token/tpm2_session.h"

namespace extencfs::token {
namespace {

std::unexpected<Error> fail(ErrorKind kind, std::string sentence) {
    return std::unexpected(Error{kind, std::move(sentence)});
}

// As FORMAT.md has it.
class Authorization {
  public:
    explicit Authorization(Bytes pin) {
        if (pin.empty()) return;
        crypto::Key256 hash;
        crypto::hash256(pin, hash.mutable_bytes());
        auth_->size = crypto::Key256::kSize;
        std::ranges::copy(hash.bytes(), std::as_writable_bytes(std::span(auth_->buffer)).begin());
    }
    const TPM2B_AUTH& get() const { return *auth_; }

  private:
    Locked<TPM2B_AUTH> auth_;
};

Result<ByteVector> to_bytes(const SealedObject& object) {
    ByteVector bytes(sizeof(TPM2B_PUBLIC) + sizeof(TPM2B_PRIVATE));
    std::size_t size = 0;
    if (Tss2_MU_TPM2B_PUBLIC_Marshal(&object.public_area, raw(MutBytes(bytes)), bytes.size(),
                                     &size) != TSS2_RC_SUCCESS ||
        Tss2_MU_TPM2B_PRIVATE_Marshal(&object.private_area, raw(MutBytes(bytes)), bytes.size(),
                                      &size) != TSS2_RC_SUCCESS) {
        return fail(ErrorKind::kFailed, "the TPM made an object that has no form; report it");
    }
    bytes.resize(size);
    return bytes;
}

Result<SealedObject> from_bytes(Bytes bytes) {
    SealedObject object;
    std::size_t at = 0;
    if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(raw(bytes), bytes.size(), &at, &object.public_area) !=
            TSS2_RC_SUCCESS ||
        Tss2_MU_TPM2B_PRIVATE_Unmarshal(raw(bytes), bytes.size(), &at, &object.private_area) !=
            TSS2_RC_SUCCESS ||
        at != bytes.size()) {
        return fail(ErrorKind::kElsewhere,
                    "what the slot holds is not what a TPM sealed; give another key, and remove "
                    "that slot");
    }
    return object;
}

class Tpm2Token final : public Token {
  public:
    explicit Tpm2Token(std::string tcti) : tcti_(std::move(tcti)) {}

    std::string missing() const override {
        constexpr std::string_view kDevice = "device:";
        if (!tcti_.starts_with(kDevice)) return "";
        const std::string path = tcti_.substr(kDevice.size());
        if (::access(path.c_str(), F_OK) != 0) {
            return "this machine has no TPM (" + path + "); use another key";
        }
        if (::access(path.c_str(), R_OK | W_OK) == 0) return "";
        return "the TPM (" + path +
               ") is closed to you; let root add you to its group (tss), or use another key";
    }
    Result<bool> wants_pin(const Choices& choices) const override { return choices.pin; }

    Result<Made> make(BytesN<16>, const Choices& choices, Bytes pin) override {
        if (choices.pin && pin.empty()) return fail(ErrorKind::kRefused, "the PIN is empty");
        auto secret = new_secret();
        if (!secret) return std::unexpected(secret.error());
        const auto tpm = open_tpm();
        if (!tpm) return std::unexpected(tpm.error());
        const Authorization authorization(choices.pin ? pin : Bytes{});
        const auto sealed =
            (*tpm)->seal(secret->bytes(), {choices.pcrs, choices.pin}, authorization.get());
        if (!sealed) return std::unexpected(sealed.error());
        auto bytes = to_bytes(*sealed);
        if (!bytes) return std::unexpected(bytes.error());
        Made made;
        made.box.sealed = std::move(*bytes);
        made.box.pcrs = choices.pcrs;
        made.box.pin = choices.pin;
        made.secret = std::move(*secret);
        return made;
    }

    Result<crypto::SecretBytes> open(BytesN<16>, const volume::TokenBox& box, Bytes pin) override {
        if (box.pin && pin.empty()) {
            return fail(ErrorKind::kRefused, "the TPM's key needs its PIN; give it");
        }
        const auto object = from_bytes(box.sealed);
        if (!object) return std::unexpected(object.error());
        const auto tpm = open_tpm();
        if (!tpm) return std::unexpected(tpm.error());
        const Authorization authorization(box.pin ? pin : Bytes{});
        auto secret = (*tpm)->unseal(*object, {box.pcrs, box.pin}, authorization.get());
        if (secret && secret->size() != kSecretSize) {
            return fail(ErrorKind::kElsewhere,
                        "what the TPM sealed is not a key of a volume; give another key");
        }
        return secret;
    }

  private:
    Result<std::unique_ptr<Tpm>> open_tpm() const {
        if (std::string why = missing(); !why.empty()) {
            return fail(ErrorKind::kAbsent, std::move(why));
        }
        return Tpm::open(tcti_);
    }
    std::string tcti_;
};

}  // namespace

std::unique_ptr<Token> tpm2_token(std::string tcti) {
    return std::make_unique<Tpm2Token>(std::move(tcti));
}

}  // namespace extencfs::token
