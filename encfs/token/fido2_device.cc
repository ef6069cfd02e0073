// SPDX-License-Identifier: Apache-2.0
// Authenticators by libfido2. Owns its objects for one call each; keeps nothing between calls.
#include "encfs/token/fido2_device.h"

#include <fido.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "crypto/random.h"

namespace extencfs::token {
namespace {

constexpr const char* kRelyingParty = "extencfs";
constexpr std::size_t kMostDevices = 16;
constexpr int kPatience_ms = 30'000;  // for a touch

struct Freed {
    void operator()(fido_dev_t* device) const {
        fido_dev_close(device);
        fido_dev_free(&device);
    }
    void operator()(fido_cred_t* credential) const { fido_cred_free(&credential); }
    void operator()(fido_assert_t* assertion) const { fido_assert_free(&assertion); }
    void operator()(fido_cbor_info_t* info) const { fido_cbor_info_free(&info); }
};
template <typename T>
using Owned = std::unique_ptr<T, Freed>;

std::unexpected<Error> fail(ErrorKind kind, std::string sentence) {
    return std::unexpected(Error{kind, std::move(sentence)});
}

Owned<fido_dev_t> open_device(const std::string& path) {
    static const bool ready = [] {
        fido_init(FIDO_DISABLE_U2F_FALLBACK);
        return true;
    }();
    (void)ready;
    Owned<fido_dev_t> device(fido_dev_new());
    if (!device || fido_dev_open(device.get(), path.c_str()) != FIDO_OK) return nullptr;
    (void)fido_dev_set_timeout(device.get(), kPatience_ms);
    return device;
}

// How many PINs may still be tried, as the device says.
std::string retries_left(fido_dev_t* device) {
    int left = 0;
    if (fido_dev_get_retry_count(device, &left) != FIDO_OK) return "some tries are left";
    return std::to_string(left) + (left == 1 ? " try is left" : " tries are left");
}

std::unexpected<Error> from_code(fido_dev_t* device, int code) {
    switch (code) {
        case FIDO_ERR_PIN_INVALID:
            return fail(ErrorKind::kWrongPin,
                        "the PIN of the security key is wrong, which the key counts (" +
                            retries_left(device) + " before it locks for ever); try again");
        case FIDO_ERR_PIN_AUTH_BLOCKED:
            return fail(ErrorKind::kLocked,
                        "the security key takes no more PINs for now; plug it in anew, then try "
                        "again");
        case FIDO_ERR_PIN_BLOCKED:
            return fail(ErrorKind::kLocked,
                        "the security key has locked itself after too many wrong PINs; give "
                        "another key, this one must be reset");
        case FIDO_ERR_PIN_REQUIRED:
            return fail(ErrorKind::kRefused, "the security key needs its PIN; give it");
        case FIDO_ERR_NO_CREDENTIALS:
            return fail(ErrorKind::kElsewhere,
                        "the security key is not the one of this volume; plug in the other, or "
                        "give another key");
        case FIDO_ERR_ACTION_TIMEOUT:
        case FIDO_ERR_USER_ACTION_TIMEOUT:
        case FIDO_ERR_TIMEOUT:
        case FIDO_ERR_RX:
            return fail(ErrorKind::kTimeout,
                        "the security key was not touched in time; try again and touch it when it "
                        "blinks");
        case FIDO_ERR_OPERATION_DENIED:
            return fail(ErrorKind::kRefused, "the security key refuses; try again and touch it");
        default:
            return fail(ErrorKind::kFailed, "the security key fails (" +
                                                std::string(fido_strerr(code)) +
                                                "); plug it in anew and try again");
    }
}

std::unexpected<Error> cannot_open(const std::string& path) {
    return fail(ErrorKind::kAbsent, "the security key at " + path +
                                        " cannot be opened; check its permissions (udev), or give "
                                        "another key");
}

// The library wants it ended by a zero.
class Pin {
  public:
    explicit Pin(Bytes pin) : text_(pin.empty() ? 0 : pin.size() + 1) {
        std::ranges::copy(pin, text_.mutable_bytes().begin());
    }
    const char* get() const {
        return text_.empty() ? nullptr : reinterpret_cast<const char*>(text_.bytes().data());
    }

  private:
    crypto::SecretBytes text_;
};

// What an authenticator signs; nobody checks the signature, so that any will do.
bool set_client_data(ByteArray<32>& hash) {
    return crypto::fill_random(hash).has_value();
}

Owned<fido_assert_t> assertion_for(Bytes credential, fido_opt_t presence) {
    Owned<fido_assert_t> assertion(fido_assert_new());
    ByteArray<32> hash{};
    const bool set =
        assertion && set_client_data(hash) &&
        fido_assert_set_rp(assertion.get(), kRelyingParty) == FIDO_OK &&
        fido_assert_set_clientdata_hash(assertion.get(), raw(Bytes(hash)), hash.size()) ==
            FIDO_OK &&
        fido_assert_allow_cred(assertion.get(), raw(credential), credential.size()) == FIDO_OK &&
        fido_assert_set_up(assertion.get(), presence) == FIDO_OK;
    return set ? std::move(assertion) : nullptr;
}

std::unexpected<Error> no_memory() {
    return fail(ErrorKind::kFailed, "libfido2 has no memory; close other programs and try again");
}

bool knows_hmac_secret(fido_dev_t* device) {
    const Owned<fido_cbor_info_t> info(fido_cbor_info_new());
    if (!info || fido_dev_get_cbor_info(device, info.get()) != FIDO_OK) return false;
    char** names = fido_cbor_info_extensions_ptr(info.get());
    const std::size_t count = fido_cbor_info_extensions_len(info.get());
    return std::any_of(names, names + count,
                       [](const char* name) { return std::string_view(name) == "hmac-secret"; });
}

class LibFido2 final : public Fido2Devices {
  public:
    std::string missing() const override { return ""; }

    Result<std::vector<Fido2Device>> list() override {
        fido_dev_info_t* found = fido_dev_info_new(kMostDevices);
        if (found == nullptr) return no_memory();
        std::size_t count = 0;
        std::vector<Fido2Device> devices;
        const int code = fido_dev_info_manifest(found, kMostDevices, &count);
        for (std::size_t i = 0; code == FIDO_OK && i < count; ++i) {
            const char* path = fido_dev_info_path(fido_dev_info_ptr(found, i));
            const auto device = open_device(path);
            if (!device || !fido_dev_is_fido2(device.get())) continue;
            devices.push_back(
                {path, fido_dev_has_pin(device.get()), knows_hmac_secret(device.get())});
        }
        fido_dev_info_free(&found, kMostDevices);
        return devices;
    }

    Result<ByteVector> make_credential(const std::string& path, Bytes pin) override {
        const auto device = open_device(path);
        if (!device) return cannot_open(path);
        const Owned<fido_cred_t> made(fido_cred_new());
        ByteArray<32> hash{};
        ByteArray<32> user{};  // tells credentials of one device apart, and nobody by name
        const bool set =
            made && set_client_data(hash) && crypto::fill_random(user) &&
            fido_cred_set_type(made.get(), COSE_ES256) == FIDO_OK &&
            fido_cred_set_clientdata_hash(made.get(), raw(Bytes(hash)), hash.size()) == FIDO_OK &&
            fido_cred_set_rp(made.get(), kRelyingParty, kRelyingParty) == FIDO_OK &&
            fido_cred_set_user(made.get(), raw(Bytes(user)), user.size(), kRelyingParty,
                               kRelyingParty, nullptr) == FIDO_OK &&
            fido_cred_set_extensions(made.get(), FIDO_EXT_HMAC_SECRET) == FIDO_OK &&
            fido_cred_set_rk(made.get(), FIDO_OPT_FALSE) == FIDO_OK;
        if (!set) return no_memory();
        const Pin text(pin);
        if (const int code = fido_dev_make_cred(device.get(), made.get(), text.get());
            code != FIDO_OK) {
            return from_code(device.get(), code);
        }
        const auto id =
            std::as_bytes(std::span(fido_cred_id_ptr(made.get()), fido_cred_id_len(made.get())));
        return ByteVector(id.begin(), id.end());
    }

    bool holds(const std::string& path, Bytes credential) override {
        const auto device = open_device(path);
        const auto assertion = assertion_for(credential, FIDO_OPT_FALSE);
        return device && assertion &&
               fido_dev_get_assert(device.get(), assertion.get(), nullptr) == FIDO_OK;
    }

    Result<crypto::SecretBytes> hmac_secret(const std::string& path, Bytes credential,
                                            BytesN<32> salt, Bytes pin) override {
        const auto device = open_device(path);
        if (!device) return cannot_open(path);
        const auto assertion = assertion_for(credential, FIDO_OPT_TRUE);
        if (!assertion ||
            fido_assert_set_extensions(assertion.get(), FIDO_EXT_HMAC_SECRET) != FIDO_OK ||
            fido_assert_set_hmac_salt(assertion.get(), raw(Bytes(salt)), salt.size()) != FIDO_OK) {
            return no_memory();
        }
        const Pin text(pin);
        if (const int code = fido_dev_get_assert(device.get(), assertion.get(), text.get());
            code != FIDO_OK) {
            return from_code(device.get(), code);
        }
        const unsigned char* secret = fido_assert_hmac_secret_ptr(assertion.get(), 0);
        if (secret == nullptr) {
            return fail(ErrorKind::kFailed,
                        "the security key gave no secret (it lacks hmac-secret); use another");
        }
        // The library wipes its own copy when it frees it.
        return crypto::SecretBytes(
            std::as_bytes(std::span(secret, fido_assert_hmac_secret_len(assertion.get(), 0))));
    }
};

}  // namespace

std::unique_ptr<Fido2Devices> fido2_devices() {
    return std::make_unique<LibFido2>();
}

}  // namespace extencfs::token
