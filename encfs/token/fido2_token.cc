// SPDX-License-Identifier: Apache-2.0
// A secret that a FIDO2 authenticator computes of a credential and a salt. A PIN goes to the device
// that made the credential, once, and to no other: each wrong one is counted.
#include <algorithm>

#include "crypto/random.h"
#include "encfs/token/fido2_device.h"

namespace extencfs::token {
namespace {

class Fido2Token final : public Token {
  public:
    explicit Fido2Token(std::unique_ptr<Fido2Devices> devices) : devices_(std::move(devices)) {}

    std::string missing() const override {
        if (std::string why = devices_->missing(); !why.empty()) return why;
        const auto found = devices_->list();
        if (!found) return found.error().sentence;
        return found->empty() ? "no security key (FIDO2) is plugged in; plug it in" : "";
    }

    std::string missing_for(const volume::TokenBox& box) const override {
        const auto holder = holder_of(box);
        return holder ? "" : holder.error().sentence;
    }

    Result<bool> wants_pin(const Choices&) const override {
        const auto device = the_one();
        if (!device) return std::unexpected(device.error());
        return device->has_pin;
    }

    Result<Made> make(BytesN<16>, const Choices&, Bytes pin) override {
        const auto device = the_one();
        if (!device) return std::unexpected(device.error());
        auto credential = devices_->make_credential(device->path, pin);
        if (!credential) return std::unexpected(credential.error());
        if (credential->empty() || credential->size() > volume::kMostCredentialId) {
            return fail(ErrorKind::kFailed,
                        "the security key made a credential of a length that does not fit; use "
                        "another");
        }
        Made made;
        made.box.sealed = std::move(*credential);
        made.box.pin = !pin.empty();
        if (!crypto::fill_random(made.box.salt)) {
            return fail(ErrorKind::kFailed, "the kernel gives no random bytes; try again");
        }
        auto secret = devices_->hmac_secret(device->path, made.box.sealed, made.box.salt, pin);
        if (!secret) return std::unexpected(secret.error());
        if (secret->size() != kSecretSize) return unfit();
        made.secret = std::move(*secret);
        return made;
    }

    Result<crypto::SecretBytes> open(BytesN<16>, const volume::TokenBox& box, Bytes pin) override {
        const auto holder = holder_of(box);
        if (!holder) return std::unexpected(holder.error());
        if (box.pin && pin.empty()) {
            return fail(ErrorKind::kRefused, "the security key needs its PIN; give it");
        }
        auto secret =
            devices_->hmac_secret(holder->path, box.sealed, box.salt, box.pin ? pin : Bytes{});
        if (secret && secret->size() != kSecretSize) return unfit();
        return secret;
    }

  private:
    static std::unexpected<Error> fail(ErrorKind kind, std::string sentence) {
        return std::unexpected(Error{kind, std::move(sentence)});
    }
    static std::unexpected<Error> unfit() {
        return fail(ErrorKind::kFailed,
                    "the security key answers with a secret of another length; use another");
    }
    // The device that made the slot's credential; neither PIN nor touch.
    Result<Fido2Device> holder_of(const volume::TokenBox& box) const {
        if (std::string why = devices_->missing(); !why.empty()) {
            return fail(ErrorKind::kAbsent, std::move(why));
        }
        const auto found = devices_->list();
        if (!found) return std::unexpected(found.error());
        if (found->empty()) {
            return fail(ErrorKind::kAbsent, "no security key (FIDO2) is plugged in; plug it in");
        }
        const auto holder = std::ranges::find_if(*found, [&](const Fido2Device& device) {
            return device.hmac_secret && devices_->holds(device.path, box.sealed);
        });
        if (holder != found->end()) return *holder;
        return fail(ErrorKind::kElsewhere,
                    "the security key that is plugged in is not the one of this volume; plug in "
                    "the other, or give another key");
    }
    // The device to make a credential on.
    Result<Fido2Device> the_one() const {
        if (std::string why = devices_->missing(); !why.empty()) {
            return fail(ErrorKind::kAbsent, std::move(why));
        }
        auto found = devices_->list();
        if (!found) return std::unexpected(found.error());
        if (found->empty()) {
            return fail(ErrorKind::kAbsent, "no security key (FIDO2) is plugged in; plug it in");
        }
        if (found->size() > 1) {
            return fail(ErrorKind::kRefused,
                        "more than one security key is plugged in; unplug the others");
        }
        if (!found->front().hmac_secret) {
            return fail(ErrorKind::kRefused,
                        "the security key cannot keep a secret (it lacks hmac-secret); use "
                        "another");
        }
        return found->front();
    }

    std::unique_ptr<Fido2Devices> devices_;
};

}  // namespace

std::unique_ptr<Token> fido2_token(std::unique_ptr<Fido2Devices> devices) {
    return std::make_unique<Fido2Token>(std::move(devices));
}

}  // namespace extencfs::token
