// SPDX-License-Identifier: Apache-2.0
// Slots whose secret a device or service holds: what is bound to what, and what is refused.
#include <catch2/catch.hpp>
#include <functional>
#include <nlohmann/json.hpp>

#include "crypto/encoding.h"
#include "encfs/volume/slots.h"
#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

using nlohmann::json;

const std::string kSecret(32, 's');

ByteVector credential(const char* type) {
    ByteVector bytes = crypto::hex_decode(type).value();
    bytes.resize(80, std::byte{7});
    return bytes;
}
const char* const kHost = "5a1c6a86df9d4096b1d5a65e0862f19a";
const char* const kNull = "058469daf6f54324800549da0f8ea2fb";

struct Volume {
    Config config;
    crypto::Key256 key;

    Volume() {
        NewVolume choice;
        choice.cost = crypto::kArgon2Least;
        auto made = new_config(choice, bytes_of("first"), key);
        REQUIRE(made);
        config = std::move(*made);
    }
    NewSlot of(SlotKind kind) const {
        NewSlot slot{.kind = kind, .label = "chip"};
        slot.token.sealed = credential(kHost);
        if (kind == SlotKind::kTpm2) slot.token.pcrs = 1U << 7;
        if (kind == SlotKind::kFido2) slot.token.salt[0] = std::byte{1};
        slot.token.pin = kind != SlotKind::kSystemd;
        return slot;
    }
    std::string with(SlotKind kind) {
        REQUIRE(add_slot(config, key.bytes(), of(kind), bytes_of(kSecret)));
        return serialize_config(config, key.bytes());
    }
};

Result<OpenedSlot> open(const std::string& text, SlotKind kind, Bytes secret, bool kept = false) {
    const auto config = parse_config(text);
    if (!config) return std::unexpected(config.error());
    OpeningSecret given(kind, secret);
    given.is_box_key = kept;
    return open_slot(*config, given);
}

// With the slot's token edited, and `auth` made anew as its writer could with the key.
std::string edited(const Volume& volume, const std::string& text,
                   const std::function<void(json&)>& edit) {
    json value = json::parse(text);
    edit(value["slots"][1]);
    const auto config = parse_config(value.dump());
    return config ? serialize_config(*config, volume.key.bytes()) : value.dump();
}

constexpr std::array kTokens{SlotKind::kSystemd, SlotKind::kTpm2, SlotKind::kFido2};

}  // namespace

TEST_CASE("a device's secret opens its slot, and no other does", "[slots][token]") {
    for (const SlotKind kind : kTokens) {
        Volume volume;
        const std::string text = volume.with(kind);
        const auto opened = open(text, kind, bytes_of(kSecret));
        REQUIRE(opened);
        CHECK(opened->slot == 2);
        CHECK(std::ranges::equal(opened->volume_key.bytes(), volume.key.bytes()));
        CHECK(kind_of(open(text, kind, bytes_of(std::string(32, 't')))) == "wrong-password");
        CHECK(kind_of(open(text, kind, bytes_of(std::string(31, 's')))) == "wrong-password");
        CHECK(kind_of(open(text, kind, {})) == "wrong-password");
        // As a password the same bytes are another secret.
        CHECK(kind_of(open(text, SlotKind::kPassword, bytes_of(kSecret))) == "wrong-password");
        // Reading and writing changes nothing.
        CHECK(serialize_config(parse_config(text).value(), volume.key.bytes()) == text);
    }
}

TEST_CASE("a token's box is bound to what is beside it", "[slots][token]") {
    const std::vector<std::pair<SlotKind, std::function<void(json&)>>> edits{
        {SlotKind::kTpm2, [](json& slot) { slot["token"]["pcrs"] = 0; }},
        {SlotKind::kTpm2, [](json& slot) { slot["token"]["pin"] = false; }},
        {SlotKind::kTpm2, [](json& slot) { slot["token"]["sealed"] = "AAAA"; }},
        {SlotKind::kFido2, [](json& slot) { slot["token"]["pin"] = false; }},
        {SlotKind::kFido2,
         [](json& slot) { slot["token"]["salt"] = crypto::base64url_encode(ByteArray<32>{}); }},
        {SlotKind::kSystemd,
         [](json& slot) {
             slot["token"]["sealed"] =
                 crypto::base64url_encode(credential("0c7cc07b117645919c4b0bea08bc20fe"));
         }},
    };
    for (const auto& [kind, edit] : edits) {
        Volume volume;
        const std::string text = volume.with(kind);
        const std::string changed = edited(volume, text, edit);
        REQUIRE(changed != text);
        CHECK(kind_of(open(changed, kind, bytes_of(kSecret))) == "wrong-password");
    }
}

TEST_CASE("a token's slot on another volume does not open", "[slots][token]") {
    Volume one;
    Volume other;
    const json from = json::parse(one.with(SlotKind::kSystemd));
    const std::string to = other.with(SlotKind::kSystemd);
    const std::string mixed = edited(other, to, [&](json& slot) { slot = from["slots"][1]; });
    CHECK(kind_of(open(mixed, SlotKind::kSystemd, bytes_of(kSecret))) == "wrong-password");
}

TEST_CASE("a credential that no key sealed is refused before it is used", "[slots][token]") {
    Volume volume;
    const std::string text = volume.with(SlotKind::kSystemd);
    for (const char* type : {kNull, "00000000000000000000000000000000"}) {
        const std::string changed = edited(volume, text, [&](json& slot) {
            slot["token"]["sealed"] = crypto::base64url_encode(credential(type));
        });
        CHECK(kind_of(parse_config(changed)) == "damaged");
        NewSlot made = volume.of(SlotKind::kSystemd);
        made.token.sealed = credential(type);
        CHECK(kind_of(add_slot(volume.config, volume.key.bytes(), made, bytes_of(kSecret))) ==
              "bad-parameter");
    }
    CHECK(sealing_keys(credential(kHost)) == "host");
    CHECK(sealing_keys(Bytes(credential(kHost)).first(16)).empty());
}

TEST_CASE("a token that the format does not have is refused", "[slots][token]") {
    const std::vector<std::pair<SlotKind, std::function<void(json&)>>> edits{
        {SlotKind::kTpm2, [](json& slot) { slot["token"]["pcrs"] = 1U << 24; }},
        {SlotKind::kTpm2, [](json& slot) { slot["token"]["pin"] = 1; }},
        {SlotKind::kTpm2, [](json& slot) { slot["token"]["sealed"] = ""; }},
        {SlotKind::kTpm2,
         [](json& slot) {
             slot["token"]["sealed"] = crypto::base64url_encode(ByteVector(kMostSealed + 1));
         }},
        {SlotKind::kTpm2, [](json& slot) { slot["token"].erase("pin"); }},
        {SlotKind::kTpm2, [](json& slot) { slot.erase("token"); }},
        {SlotKind::kFido2, [](json& slot) { slot["token"].erase("salt"); }},
    };
    for (const auto& [kind, edit] : edits) {
        Volume volume;
        CHECK(kind_of(parse_config(edited(volume, volume.with(kind), edit))) == "damaged");
    }
    const std::vector<std::function<void(json&)>> unknown{
        [](json& slot) { slot["token"]["pin"] = true; },
        [](json& slot) { slot["salt"] = "AAAA"; },
        [](json& slot) { slot["kdf"] = json::object(); },
    };
    for (const auto& edit : unknown) {
        Volume volume;
        const std::string text = edited(volume, volume.with(SlotKind::kSystemd), edit);
        CHECK(kind_of(parse_config(text)) == "unsupported");
    }
}

TEST_CASE("a kept key opens its slot until that is changed", "[slots][token]") {
    Volume volume;
    const std::string text = serialize_config(volume.config, volume.key.bytes());
    const auto opened = open(text, SlotKind::kPassword, bytes_of("first"));
    REQUIRE(opened);
    const auto again = open(text, SlotKind::kPassword, opened->box_key.bytes(), true);
    REQUIRE(again);
    CHECK(std::ranges::equal(again->volume_key.bytes(), volume.key.bytes()));
    CHECK(std::ranges::equal(again->box_key.bytes(), opened->box_key.bytes()));
    CHECK_FALSE(std::ranges::equal(opened->box_key.bytes(), volume.key.bytes()));
    CHECK(kind_of(open(text, SlotKind::kPassword, bytes_of("first"), true)) == "wrong-password");
    // The same password, but a slot that was made anew.
    REQUIRE(
        change_slot(volume.config, volume.key.bytes(), 1, crypto::kArgon2Least, bytes_of("first")));
    const std::string changed = serialize_config(volume.config, volume.key.bytes());
    CHECK(kind_of(open(changed, SlotKind::kPassword, opened->box_key.bytes(), true)) ==
          "wrong-password");
}

TEST_CASE("a token's slot is added and removed, not changed", "[slots][token]") {
    Volume volume;
    (void)volume.with(SlotKind::kTpm2);
    CHECK(openable_slots(volume.config) == 2);
    CHECK(slots_of_people(volume.config) == 1);
    CHECK(kind_of(change_slot(volume.config, volume.key.bytes(), 2, crypto::kArgon2Least,
                              bytes_of(kSecret))) == "bad-parameter");
    REQUIRE(remove_slot(volume.config, 2));
    CHECK(openable_slots(volume.config) == 1);
}

}  // namespace extencfs::volume
