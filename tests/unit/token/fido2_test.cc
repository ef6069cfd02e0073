// SPDX-License-Identifier: Apache-2.0
// Security keys: the token's part, against authenticators that behave as CTAP 2.1 says, in memory.
#include "encfs/token/fido2_device.h"

#include <algorithm>
#include <map>

#include "crypto/kdf.h"
#include "tests/unit/token/needs.h"

using namespace extencfs;
using namespace extencfs::test;
using token::ErrorKind;
using token::Fido2Device;
using token::Result;

namespace {

// One authenticator. Its credentials are not kept on it: each id is a MAC that only it can make.
struct FakeKey {
    std::string path;
    crypto::Key256 inside;
    std::string pin;
    int retries = 8;
    int touches = 0;
    int pins_tried = 0;
    bool touched = true;  // whether somebody is there
    bool hmac_secret = true;

    FakeKey(std::string at, std::string with_pin, unsigned char seed)
        : path(std::move(at)), pin(std::move(with_pin)) {
        std::ranges::fill(inside.mutable_bytes(), static_cast<std::byte>(seed));
    }
    Result<void> verify(Bytes given) {
        if (given.empty()) return {};
        if (retries == 0) return error(ErrorKind::kLocked);
        ++pins_tried;
        if (text_of(given) != pin) {
            --retries;
            return error(ErrorKind::kWrongPin);
        }
        retries = 8;
        return {};
    }
    Result<void> touch() {
        if (!touched) return error(ErrorKind::kTimeout);
        ++touches;
        return {};
    }
    ByteVector mac(Bytes message) const {
        ByteVector out(32);
        crypto::mac256(inside.bytes(), message, MutBytesN<32>(out.data(), 32));
        return out;
    }
    static std::unexpected<token::Error> error(ErrorKind kind) {
        return std::unexpected(token::Error{kind, "the fake says no; look at it"});
    }
};

class FakeKeys final : public token::Fido2Devices {
  public:
    explicit FakeKeys(std::vector<FakeKey*> plugged) : plugged_(std::move(plugged)) {}
    std::string missing() const override { return ""; }
    Result<std::vector<Fido2Device>> list() override {
        std::vector<Fido2Device> all;
        for (const FakeKey* key : plugged_) {
            all.push_back({key->path, !key->pin.empty(), key->hmac_secret});
        }
        return all;
    }
    Result<ByteVector> make_credential(const std::string& path, Bytes pin) override {
        FakeKey& key = at(path);
        if (!key.pin.empty() && pin.empty()) return FakeKey::error(ErrorKind::kRefused);
        if (auto ok = key.verify(pin); !ok) return std::unexpected(ok.error());
        if (auto ok = key.touch(); !ok) return std::unexpected(ok.error());
        const std::byte nonce[] = {static_cast<std::byte>(++made_)};
        ByteVector id = key.mac(nonce);
        id.push_back(nonce[0]);
        return id;
    }
    bool holds(const std::string& path, Bytes id) override {
        return id.size() == 33 && equal(at(path).mac(id.last(1)), id.first(32));
    }
    Result<crypto::SecretBytes> hmac_secret(const std::string& path, Bytes id, BytesN<32> salt,
                                            Bytes pin) override {
        FakeKey& key = at(path);
        if (!holds(path, id)) return FakeKey::error(ErrorKind::kElsewhere);
        if (auto ok = key.verify(pin); !ok) return std::unexpected(ok.error());
        if (auto ok = key.touch(); !ok) return std::unexpected(ok.error());
        ByteVector message(id.begin(), id.end());
        message.insert(message.end(), salt.begin(), salt.end());
        message.push_back(std::byte{pin.empty() ? std::uint8_t{0} : std::uint8_t{1}});
        return crypto::SecretBytes(key.mac(message));
    }

  private:
    FakeKey& at(const std::string& path) {
        return **std::ranges::find_if(plugged_, [&](FakeKey* key) { return key->path == path; });
    }
    std::vector<FakeKey*> plugged_;
    unsigned char made_ = 0;
};

std::unique_ptr<token::Token> plugged(std::vector<FakeKey*> keys) {
    return token::fido2_token(std::make_unique<FakeKeys>(std::move(keys)));
}

}  // namespace

TEST_CASE("a security key gives its secret again, after a touch", "[fido2]") {
    FakeKey key("one", "", 1);
    const auto made = plugged({&key})->make(kVolumeId, {}, {});
    REQUIRE(made);
    CHECK(key.touches == 2);
    CHECK_FALSE(made->box.pin);
    CHECK(made->box.salt != ByteArray<32>{});
    const auto again = plugged({&key})->open(kVolumeId, made->box, {});
    REQUIRE(again);
    CHECK(equal(again->bytes(), made->secret.bytes()));
    CHECK(key.touches == 3);
    auto salted = made->box;
    salted.salt[0] ^= std::byte{1};
    CHECK_FALSE(equal(plugged({&key})->open(kVolumeId, salted, {})->bytes(), made->secret.bytes()));
    key.touched = false;
    CHECK(kind_of(plugged({&key})->open(kVolumeId, made->box, {})) == "timeout");
}

TEST_CASE("a PIN goes once, and only to the key that made the credential", "[fido2]") {
    FakeKey key("one", "1234", 1);
    FakeKey other("two", "9999", 2);
    CHECK(*plugged({&key})->wants_pin({}));
    const auto made = plugged({&key})->make(kVolumeId, {}, bytes_of("1234"));
    REQUIRE(made);
    CHECK(made->box.pin);
    key.pins_tried = 0;
    const auto both = plugged({&other, &key});
    REQUIRE(both->open(kVolumeId, made->box, bytes_of("1234")));
    CHECK(key.pins_tried == 1);
    CHECK(other.pins_tried == 0);
    CHECK(kind_of(both->open(kVolumeId, made->box, bytes_of("1235"))) == "wrong-pin");
    CHECK(key.retries == 7);
    CHECK(other.retries == 8);
    CHECK(kind_of(both->open(kVolumeId, made->box, {})) == "refused");
    CHECK(key.retries == 7);
    // A slot without a PIN never sends one.
    auto without = made->box;
    without.pin = false;
    const auto weaker = both->open(kVolumeId, without, bytes_of("1235"));
    REQUIRE(weaker);
    CHECK(key.retries == 7);
    CHECK_FALSE(equal(weaker->bytes(), made->secret.bytes()));
}

TEST_CASE("a key that is missing, another's, or of the wrong sort is named", "[fido2]") {
    FakeKey key("one", "", 1);
    FakeKey other("two", "", 2);
    FakeKey old("old", "", 3);
    old.hmac_secret = false;
    const auto made = plugged({&key})->make(kVolumeId, {}, {});
    REQUIRE(made);
    CHECK(kind_of(plugged({})->open(kVolumeId, made->box, {})) == "absent");
    CHECK(is_sentence(plugged({})->missing()));
    CHECK(plugged({&key})->missing().empty());
    CHECK(kind_of(plugged({&other, &old})->open(kVolumeId, made->box, {})) == "elsewhere");
    CHECK(other.touches == 0);
    CHECK(is_sentence(plugged({&other})->missing_for(made->box)));
    CHECK(plugged({&other, &key})->missing_for(made->box).empty());
    CHECK(kind_of(plugged({&key, &other})->make(kVolumeId, {}, {})) == "refused");
    CHECK(kind_of(plugged({&old})->make(kVolumeId, {}, {})) == "refused");
    CHECK(kind_of(plugged({})->make(kVolumeId, {}, {})) == "absent");
}

TEST_CASE("without a device the library says so", "[fido2]") {
    const auto token = token::fido2_token(token::fido2_devices());
    if (token->missing().empty()) return;  // somebody's key is plugged in: it is left alone
    CHECK(is_sentence(token->missing()));
    CHECK(kind_of(token->open(kVolumeId, {}, {})) == "absent");
}
