// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/slots.h"

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

using nlohmann::json;

const crypto::Argon2Cost kQuick = crypto::kArgon2Least;

struct Volume {
    Config config;
    crypto::Key256 key;

    Volume() {
        NewVolume choice;
        choice.cost = kQuick;
        auto made = new_config(choice, bytes_of("first"), key);
        REQUIRE(made);
        config = std::move(*made);
    }
    std::string text() const { return serialize_config(config, key.bytes()); }
    Result<std::uint32_t> add(SlotKind kind, std::string_view secret,
                              const std::string& label = "") {
        return add_slot(config, key.bytes(), {.kind = kind, .cost = kQuick, .label = label},
                        bytes_of(secret));
    }
    // As `text` would be if its writer had the key.
    std::string with_auth(const std::string& text) const {
        auto parsed = parse_config(text);
        REQUIRE(parsed);
        return serialize_config(*parsed, key.bytes());
    }
};

// The slot that opens, or what happens instead.
std::string opened(const std::string& text, const OpeningSecret& secret) {
    const auto config = parse_config(text);
    if (!config) return kind_of(config);
    const auto slot = open_slot(*config, secret);
    return slot ? std::to_string(slot->slot) : kind_of(slot);
}
std::string opened(const std::string& text, std::string_view password) {
    return opened(text, OpeningSecret(bytes_of(password)));
}

std::string edited(const std::string& text, const std::function<void(json&)>& edit) {
    json value = json::parse(text);
    edit(value);
    return value.dump(2);
}

json foreign_slot() {
    return json::parse(R"({"id": 2, "kind": "smartcard", "label": "chip", "wrapped": "AAAA",
        "created": "2030-01-01T00:00:00Z", "changed": "2030-01-02T00:00:00Z",
        "policy": {"pcrs": [0, 7], "pin": true, "grün": "\"\\"}})");
}

}  // namespace

TEST_CASE("a second password opens the same volume", "[slots]") {
    Volume volume;
    const std::string before = volume.text();
    const auto id = volume.add(SlotKind::kPassword, "second", "backup");
    REQUIRE(id);
    CHECK(*id == 2);
    CHECK(volume.config.next_slot_id == 3);
    CHECK(volume.config.revision == 2);
    const std::string both = volume.text();
    CHECK(opened(both, "first") == "1");
    CHECK(opened(both, "second") == "2");
    CHECK(opened(both, "third") == "wrong-password");
    // The old configuration still opens with the old password: T9, undetectable from inside.
    CHECK(opened(before, "first") == "1");

    // Removing the first slot needs no password of its own, and its id is not given again.
    REQUIRE(remove_slot(volume.config, 1));
    CHECK(volume.config.revision == 3);
    const std::string one = volume.text();
    CHECK(opened(one, "first") == "wrong-password");
    CHECK(opened(one, "second") == "2");
    CHECK(*volume.add(SlotKind::kPassword, "x") == 3);
    CHECK(kind_of(remove_slot(volume.config, 1)) == "bad-parameter");

    // A slot put back by somebody without the key.
    const std::string forged =
        edited(both, [&](json& value) { value["auth"] = json::parse(one)["auth"]; });
    CHECK(opened(forged, "second") == "damaged");
}

TEST_CASE("slots that must not be are refused, and change nothing", "[slots]") {
    Volume volume;
    const auto add = [&](const crypto::Argon2Cost& cost, const std::string& label) {
        return kind_of(add_slot(volume.config, volume.key.bytes(), {.cost = cost, .label = label},
                                bytes_of("x")));
    };
    const std::string before = volume.text();
    CHECK(add(kQuick, "bad\nlabel") == "bad-parameter");
    CHECK(add(kQuick, "\xff\xfe") == "bad-parameter");
    CHECK(add(kQuick, std::string(200, 'x')) == "bad-parameter");
    CHECK(add({1, 1, 1}, "") == "bad-parameter");
    CHECK(add({~0u, 1, 1}, "") == "bad-parameter");
    CHECK(add(crypto::kArgon2Most, "") == "bad-parameter");  // together with the one that is there
    CHECK(kind_of(volume.add(SlotKind::kForeign, "x")) == "bad-parameter");
    const auto change = [&](std::uint32_t id, const crypto::Argon2Cost& cost) {
        return kind_of(change_slot(volume.config, volume.key.bytes(), id, cost, bytes_of("x")));
    };
    CHECK(change(2, kQuick) == "bad-parameter");
    CHECK(change(1, {1, 1, 1}) == "bad-parameter");
    CHECK(volume.text() == before);
    volume.config.revision = (std::uint64_t{1} << 53) - 1;
    CHECK(change(1, kQuick) == "bad-parameter");
    CHECK(add(kQuick, "") == "bad-parameter");
    CHECK(kind_of(remove_slot(volume.config, 1)) == "bad-parameter");
    volume.config.revision = 1;
    volume.config.slots.resize(32, volume.config.slots[0]);
    CHECK(add(kQuick, "") == "bad-parameter");
}

TEST_CASE("each kind of slot opens with its own secret alone", "[slots]") {
    Volume volume;
    const std::string same = "a secret of twenty b";
    REQUIRE(volume.add(SlotKind::kKeyfile, same));
    REQUIRE(volume.add(SlotKind::kRecovery, same));
    const std::string text = volume.text();
    CHECK(opened(text, {SlotKind::kKeyfile, bytes_of(same)}) == "2");
    CHECK(opened(text, {SlotKind::kRecovery, bytes_of(same)}) == "3");
    CHECK(opened(text, {SlotKind::kPassword, bytes_of(same)}) == "wrong-password");
    CHECK(opened(text, {SlotKind::kKeyfile, bytes_of("first")}) == "wrong-password");
    // The kind enters the box: a slot that is called another kind does not open.
    const std::string renamed =
        edited(text, [](json& value) { value["slots"][1]["kind"] = "password"; });
    CHECK(opened(renamed, {SlotKind::kPassword, bytes_of(same)}) == "wrong-password");
}

TEST_CASE("only the named slot is tried", "[slots]") {
    Volume volume;
    REQUIRE(volume.add(SlotKind::kPassword, "second"));
    const std::string text = volume.text();
    const auto by = [&](const char* password, std::uint32_t slot) {
        return opened(text, {SlotKind::kPassword, bytes_of(password), slot});
    };
    CHECK(by("first", 1) == "1");
    CHECK(by("first", 2) == "wrong-password");
    CHECK(by("second", 1) == "wrong-password");
    CHECK(by("second", 2) == "2");
    CHECK(by("second", 3) == "wrong-password");
}

TEST_CASE("a changed slot keeps its place and nothing else", "[slots]") {
    Volume volume;
    REQUIRE(volume.add(SlotKind::kPassword, "second"));
    const KeySlot before = volume.config.slots[0];
    REQUIRE(change_slot(volume.config, volume.key.bytes(), 1, {8192, 2, 1}, bytes_of("new")));
    const KeySlot& after = volume.config.slots[0];
    CHECK(after.id == before.id);
    CHECK(after.label == before.label);
    CHECK(after.created == before.created);
    CHECK(after.salt != before.salt);
    CHECK(after.wrapped != before.wrapped);
    CHECK(after.cost.passes == 2);
    CHECK(volume.config.revision == 3);
    CHECK(opened(volume.text(), "first") == "wrong-password");
    CHECK(opened(volume.text(), "new") == "1");
    CHECK(opened(volume.text(), "second") == "2");
}

TEST_CASE("a slot of an unknown kind is kept as it is", "[slots][foreign]") {
    Volume volume;
    const std::string text = volume.with_auth(edited(volume.text(), [](json& value) {
        value["slots"].push_back(foreign_slot());
        value["next_slot_id"] = 3;
    }));
    auto config = parse_config(text);
    REQUIRE(config);
    CHECK(config->slots[1].kind == SlotKind::kForeign);
    CHECK(config->slots[1].kind_name == "smartcard");
    CHECK(config->slots[1].label == "chip");
    CHECK(openable_slots(*config) == 1);
    CHECK(serialize_config(*config, volume.key.bytes()) == text);
    CHECK(opened(text, "first") == "1");
    CHECK(opened(text, {SlotKind::kForeign, bytes_of("first")}) == "wrong-password");

    // Through changes of other slots, with every member.
    volume.config = *config;
    REQUIRE(volume.add(SlotKind::kPassword, "second"));
    CHECK(volume.config.slots[2].id == 3);
    REQUIRE(remove_slot(volume.config, 1));
    const json after = json::parse(volume.text());
    CHECK(after["slots"][0] == foreign_slot());
    CHECK(opened(volume.text(), "second") == "3");
    CHECK(kind_of(change_slot(volume.config, volume.key.bytes(), 2, kQuick, bytes_of("x"))) ==
          "bad-parameter");
    // It is authenticated with the rest, and can be removed.
    const std::string tampered =
        edited(volume.text(), [](json& value) { value["slots"][0]["policy"]["pin"] = false; });
    CHECK(opened(tampered, "second") == "damaged");
    REQUIRE(remove_slot(volume.config, 2));
    CHECK(opened(volume.text(), "second") == "3");
}

TEST_CASE("a slot of an unknown kind has one canonical form", "[slots][foreign]") {
    const Volume volume;
    const auto kind = [&](const std::function<void(json&)>& edit) {
        return kind_of(parse_config(edited(volume.text(), [&](json& value) {
            json slot = foreign_slot();
            edit(slot);
            value["slots"].push_back(std::move(slot));
            value["next_slot_id"] = 3;
        })));
    };
    CHECK(kind([](json&) {}) == "good");
    CHECK(kind([](json& s) { s["x"] = 1.5; }) == "damaged");
    CHECK(kind([](json& s) { s["x"] = -1; }) == "damaged");
    CHECK(kind([](json& s) { s["x"] = nullptr; }) == "damaged");
    CHECK(kind([](json& s) { s["x"] = std::uint64_t{1} << 53; }) == "damaged");
    CHECK(kind([](json& s) { s["x"] = "a\nb"; }) == "damaged");
    CHECK(kind([](json& s) { s["a\tb"] = 1; }) == "damaged");
    CHECK(kind([](json& s) { s["x"] = json::parse("[[[1]]]"); }) == "good");
    CHECK(kind([](json& s) { s["x"] = json::parse("[[[[1]]]]"); }) == "damaged");
    CHECK(kind([](json& s) { s["x"] = std::string(17'000, 'x'); }) == "damaged");
    CHECK(kind([](json& s) { s["kind"] = "Tpm2"; }) == "damaged");
    CHECK(kind([](json& s) { s["kind"] = ""; }) == "damaged");
    CHECK(kind([](json& s) { s["kind"] = std::string(33, 'k'); }) == "damaged");
    CHECK(kind([](json& s) { s["id"] = 1; }) == "damaged");
    for (const char* member : {"id", "kind", "label", "created", "changed"}) {
        CAPTURE(member);
        CHECK(kind([&](json& s) { s.erase(member); }) == "damaged");
    }
    // A known kind takes no such members.
    CHECK(kind([](json& s) { s["kind"] = "keyfile"; }) == "damaged");
}

TEST_CASE("many large slots of unknown kinds can be written and read", "[slots][foreign]") {
    Volume volume;
    json all = json::parse(volume.text());
    json large = foreign_slot();
    large["list"] = std::vector<int>(7'900, 1);
    for (int id = 2; id <= 32; ++id) {
        large["id"] = id;
        all["slots"].push_back(large);
    }
    all["next_slot_id"] = 33;
    auto config = parse_config(all.dump());
    REQUIRE(config);
    volume.config = std::move(*config);
    CHECK(opened(volume.text(), "first") == "1");
}

TEST_CASE("with no slot left nobody opens", "[slots]") {
    Volume volume;
    REQUIRE(remove_slot(volume.config, 1));
    CHECK(openable_slots(volume.config) == 0);
    CHECK(opened(volume.text(), "first") == "wrong-password");
}

TEST_CASE("a key file stands for all of its bytes", "[slots]") {
    CHECK(kind_of(keyfile_secret({})) == "bad-parameter");
    CHECK(kind_of(keyfile_secret(ByteVector(kMostKeyfileBytes + 1))) == "bad-parameter");
    const auto zeros = keyfile_secret(ByteVector(kMostKeyfileBytes));
    REQUIRE(zeros);
    CHECK(zeros->size() == 32);
    ByteVector other(kMostKeyfileBytes);
    other.back() = std::byte{1};
    CHECK_FALSE(std::ranges::equal(keyfile_secret(other)->bytes(), zeros->bytes()));
    CHECK_FALSE(std::ranges::equal(keyfile_secret(ByteVector(kMostKeyfileBytes - 1))->bytes(),
                                   zeros->bytes()));
}

TEST_CASE("an older configuration is brought back above the present one", "[slots]") {
    Volume volume;
    const Config old = volume.config;
    REQUIRE(volume.add(SlotKind::kPassword, "second"));
    REQUIRE(volume.add(SlotKind::kPassword, "third"));
    Config back = old;
    REQUIRE(bring_back(back, volume.config));
    CHECK(back.revision == volume.config.revision + 1);
    CHECK(back.next_slot_id == volume.config.next_slot_id);
    CHECK(back.slots.size() == 1);
    CHECK(opened(serialize_config(back, volume.key.bytes()), "first") == "1");

    const Volume other;
    Config foreign = other.config;
    CHECK(kind_of(bring_back(foreign, volume.config)) == "bad-parameter");
    // Files of a generation that it does not have could never be read again.
    volume.config.generations.push_back(volume.config.generations[0]);
    volume.config.generations.back().number = 2;
    back = old;
    CHECK(kind_of(bring_back(back, volume.config)) == "bad-parameter");
}

}  // namespace extencfs::volume
