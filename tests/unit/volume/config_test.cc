// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/config.h"

#include <functional>
#include <nlohmann/json.hpp>

#include "encfs/volume/features.h"
#include "encfs/volume/volume_keys.h"
#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

using nlohmann::json;

const crypto::Argon2Cost kQuick = crypto::kArgon2Least;

struct Volume {
    Config config;
    crypto::Key256 key;
    std::string text;
};

Volume make_volume(NewVolume choice = {}) {
    Volume volume;
    choice.cost = kQuick;
    auto config = new_config(choice, bytes_of("password"), volume.key);
    REQUIRE(config);
    volume.config = std::move(*config);
    volume.text = serialize_config(volume.config, volume.key.bytes());
    return volume;
}

// The kind of what happens to a reader with the right password.
std::string open_kind(const std::string& text, std::string_view password = "password") {
    const auto config = parse_config(text);
    if (!config) return kind_of(config);
    const auto key = unlock(*config, bytes_of(password));
    if (!key) return kind_of(key);
    return kind_of(VolumeKeys::derive(*config, key->bytes()));
}

std::string edited(const std::string& text, const std::function<void(json&)>& edit) {
    json value = json::parse(text);
    edit(value);
    return value.dump(2);
}

// Every place in the text where there is a plain value: a JSON pointer.
void collect_values(const json& value, const std::string& path, std::vector<std::string>& out) {
    if (!value.is_structured()) {
        out.push_back(path);
        return;
    }
    for (const auto& [name, member] : value.items()) collect_values(member, path + "/" + name, out);
}

}  // namespace

TEST_CASE("a configuration comes back as it was", "[config]") {
    NewVolume choice;
    choice.content_cipher = crypto::AeadKind::kXChaCha20Poly1305;
    choice.name_encoding = NameEncoding::kBase32Hex;
    choice.label = "löck \"1\" \\";
    Volume volume = make_volume(choice);
    auto config = parse_config(volume.text);
    REQUIRE(config);
    CHECK(config->content_cipher == choice.content_cipher);
    CHECK(config->name_encoding == choice.name_encoding);
    CHECK(config->features == std::vector<std::string>{std::string(kFeatureBase32Names)});
    CHECK(config->slots.at(0).label == choice.label);
    CHECK(config->slots.at(0).created.size() == 20);
    CHECK(config->revision == 1);
    CHECK(config->root_id == volume.config.root_id);
    CHECK(config->volume_id == volume.config.volume_id);
    const auto key = unlock(*config, bytes_of("password"));
    REQUIRE(key);
    CHECK(std::ranges::equal(key->bytes(), volume.key.bytes()));
    CHECK(serialize_config(*config, key->bytes()) == volume.text);
    CHECK(open_kind(volume.text, "Password") == "wrong-password");
    CHECK(open_kind(volume.text, "") == "wrong-password");
}

TEST_CASE("two new volumes share nothing", "[config]") {
    const Volume a = make_volume();
    const Volume b = make_volume();
    CHECK(a.config.volume_id != b.config.volume_id);
    CHECK(a.config.root_id != b.config.root_id);
    CHECK(a.config.slots[0].salt != b.config.slots[0].salt);
    CHECK_FALSE(std::ranges::equal(a.key.bytes(), b.key.bytes()));
}

TEST_CASE("T10: a configuration with any value changed is refused", "[config][threat]") {
    const Volume volume = make_volume();
    const Volume other = make_volume();
    REQUIRE(open_kind(volume.text) == "good");
    std::vector<std::string> values;
    collect_values(json::parse(volume.text), "", values);
    CHECK(values.size() == 23);
    for (const std::string& path : values) {
        CAPTURE(path);
        const std::string changed = edited(volume.text, [&](json& value) {
            json& member = value[json::json_pointer(path)];
            const json theirs = json::parse(other.text)[json::json_pointer(path)];
            if (member != theirs) {
                member = theirs;  // well-formed, and another volume's
            } else if (member.is_number()) {
                member = member.get<std::uint64_t>() + 1;
            } else {
                member = member.get<std::string>() + "x";
            }
        });
        CHECK(open_kind(changed) != "good");
        const std::string removed = edited(volume.text, [&](json& value) {
            const json::json_pointer pointer(path);
            json& parent = value[pointer.parent_pointer()];
            if (parent.is_object()) parent.erase(pointer.back());
        });
        if (json::parse(removed) != json::parse(volume.text))
            CHECK(open_kind(removed) == "damaged");
    }
}

TEST_CASE("T10: legal changes without the key are refused after unlocking", "[config][threat]") {
    const Volume volume = make_volume();
    const auto changed = [&](const std::function<void(json&)>& edit) {
        return open_kind(edited(volume.text, edit));
    };
    CHECK(changed([](json& v) { v["revision"] = 2; }) == "damaged");
    CHECK(changed([](json& v) { v["creator"] = "other"; }) == "damaged");
    CHECK(changed([](json& v) { v["content_cipher"] = "xchacha20-poly1305"; }) == "damaged");
    CHECK(changed([](json& v) { v["next_slot_id"] = 9; }) == "damaged");
    CHECK(changed([](json& v) { v["slots"][0]["label"] = "l"; }) == "damaged");
    CHECK(changed([](json& v) { v["slots"][0]["changed"] = "2000-01-01T00:00:00Z"; }) == "damaged");
    // The id and the cost enter the wrap: the slot itself does not open.
    CHECK(changed([](json& v) {
              v["slots"][0]["id"] = 2;
              v["next_slot_id"] = 3;
          }) == "wrong-password");
    CHECK(changed([](json& v) { v["slots"][0]["kdf"]["passes"] = 2; }) == "wrong-password");
    CHECK(changed([](json& v) {
              v["name_encoding"] = "base32hex";
              v["features"] = {"base32-names"};
          }) == "damaged");
}

TEST_CASE("T10: slots of another volume are refused", "[config][threat]") {
    const Volume a = make_volume();
    const Volume b = make_volume();
    const std::string swapped =
        edited(a.text, [&](json& value) { value["slots"] = json::parse(b.text)["slots"]; });
    CHECK(open_kind(swapped) == "wrong-password");
    const std::string whole = edited(a.text, [&](json& value) {
        value["slots"] = json::parse(b.text)["slots"];
        value["volume_id"] = json::parse(b.text)["volume_id"];
    });
    CHECK(open_kind(whole) == "damaged");
}

TEST_CASE("unknown versions, features, members and values are refused by name", "[config]") {
    const Volume volume = make_volume();
    const auto error = [&](const std::function<void(json&)>& edit) {
        const auto config = parse_config(edited(volume.text, edit));
        return config ? "good" : kind_of(config) + ": " + config.error().detail;
    };
    using Catch::Contains;
    CHECK_THAT(error([](json& v) { v["version"] = 2; }),
               Contains("unsupported") && Contains("version"));
    CHECK_THAT(error([](json& v) { v["features"] = {"time-travel"}; }),
               Contains("unsupported") && Contains("time-travel"));
    CHECK_THAT(error([](json& v) { v["extra"] = 1; }), Contains("unsupported: "));
    CHECK_THAT(error([](json& v) { v["slots"][0]["extra"] = 1; }),
               Contains("unsupported") && Contains("slots[0]"));
    CHECK_THAT(error([](json& v) { v["slots"][0]["kdf"]["extra"] = 1; }),
               Contains("unsupported") && Contains("slots[0].kdf"));
    CHECK_THAT(error([](json& v) { v["content_cipher"] = "rot13"; }),
               Contains("unsupported") && Contains("content_cipher"));
    CHECK_THAT(error([](json& v) { v["slots"][0]["kdf"]["algorithm"] = "md5"; }),
               Contains("unsupported") && Contains("slots[0].kdf.algorithm"));
    CHECK_THAT(error([](json& v) { v["features"] = {"base32-names"}; }),
               Contains("damaged") && Contains("base32-names"));
    CHECK_THAT(error([](json& v) { v["name_encoding"] = "base32hex"; }),
               Contains("damaged") && Contains("base32-names"));
    CHECK_THAT(error([](json& v) { v["format"] = "other"; }), Contains("damaged"));
    // A newer version explains itself before its other members look wrong.
    CHECK_THAT(error([](json& v) {
                   v = json{{"format", "extencfs"}, {"version", 9}, {"features", json::array()}};
               }),
               Contains("unsupported") && Contains("version"));
}

TEST_CASE("hostile costs are refused before they are paid", "[config][threat]") {
    const Volume volume = make_volume();
    const auto with_cost = [&](json memory, json passes, json lanes) {
        return kind_of(parse_config(edited(volume.text, [&](json& v) {
            v["slots"][0]["kdf"]["memory_kib"] = memory;
            v["slots"][0]["kdf"]["passes"] = passes;
            v["slots"][0]["kdf"]["lanes"] = lanes;
        })));
    };
    CHECK(with_cost(8192, 1, 1) == "good");
    CHECK(with_cost(4 * 1024 * 1024, 64, 16) == "good");
    CHECK(with_cost(4 * 1024 * 1024 + 1, 1, 1) == "damaged");
    CHECK(with_cost(4294967295u, 1, 1) == "damaged");
    CHECK(with_cost(4294967296u, 1, 1) == "damaged");
    CHECK(with_cost(8192, 65, 1) == "damaged");
    CHECK(with_cost(8192, 1, 17) == "damaged");
    CHECK(with_cost(8192, 0, 1) == "damaged");
    CHECK(with_cost(8192, 1, 0) == "damaged");
    CHECK(with_cost(0, 1, 1) == "damaged");
    CHECK(with_cost(-8192, 1, 1) == "damaged");
    CHECK(with_cost(8192.0, 1, 1) == "damaged");
    CHECK(with_cost("8192", 1, 1) == "damaged");

    // Many slots that are each acceptable.
    const auto many = [&](std::size_t count, std::uint32_t memory_kib, std::uint32_t passes) {
        return kind_of(parse_config(edited(volume.text, [&](json& v) {
            const json slot = v["slots"][0];
            v["slots"] = json::array();
            for (std::size_t i = 1; i <= count; ++i) {
                v["slots"].push_back(slot);
                v["slots"].back()["id"] = i;
                v["slots"].back()["kdf"]["memory_kib"] = memory_kib;
                v["slots"].back()["kdf"]["passes"] = passes;
            }
            v["next_slot_id"] = count + 1;
        })));
    };
    CHECK(many(32, 1024 * 1024, 4) == "good");
    CHECK(many(33, 8192, 1) == "damaged");
    CHECK(many(2, 4 * 1024 * 1024, 64) == "damaged");
}

TEST_CASE("texts that are not exactly a configuration are refused", "[config]") {
    const Volume volume = make_volume();
    for (const std::string& text :
         {std::string(), std::string("{"), std::string("[]"), std::string("null"), std::string("7"),
          std::string("\"x\""), std::string(volume.text.size(), '\0'), volume.text + "x",
          volume.text + volume.text, std::string(2'000'000, ' ') + volume.text,
          std::string(500'000, '['), std::string("{\"format\":") + std::string(100'000, '{')}) {
        CAPTURE(text.substr(0, 20));
        CHECK(kind_of(parse_config(text)) == "damaged");
    }
    for (std::size_t size = 0; size + 2 < volume.text.size(); ++size) {
        if (parse_config(volume.text.substr(0, size))) CHECK(size == 0);
    }
    // A member given twice, first or last.
    const std::string twice = "{\"revision\": 5," + volume.text.substr(1);
    CHECK(kind_of(parse_config(twice)) == "damaged");
    // Deep and complete: nothing in the reader may recurse.
    CHECK(kind_of(parse_config(std::string(400'000, '[') + std::string(400'000, ']'))) ==
          "damaged");
    std::string deep = volume.text;
    deep.replace(deep.find("\"features\": []"), 14,
                 "\"features\": " + std::string(200'000, '[') + std::string(200'000, ']'));
    CHECK(kind_of(parse_config(deep)) == "damaged");
}

TEST_CASE("members are checked for range and order", "[config]") {
    const Volume volume = make_volume();
    const auto kind = [&](const std::function<void(json&)>& edit) {
        return kind_of(parse_config(edited(volume.text, edit)));
    };
    CHECK(kind([](json& v) { v["revision"] = 0; }) == "damaged");
    CHECK(kind([](json& v) { v["revision"] = std::uint64_t{1} << 53; }) == "damaged");
    CHECK(kind([](json& v) { v["next_slot_id"] = 1; }) == "damaged");
    CHECK(kind([](json& v) { v["slots"] = json::array(); }) == "good");
    CHECK(kind([](json& v) { v["slots"].push_back(v["slots"][0]); }) == "damaged");
    CHECK(kind([](json& v) { v["generations"] = json::array(); }) == "damaged");
    CHECK(kind([](json& v) { v["generations"].push_back(v["generations"][0]); }) == "damaged");
    CHECK(kind([](json& v) { v["generations"][0]["number"] = 0; }) == "damaged");
    CHECK(kind([](json& v) { v["slots"][0]["created"] = "yesterday"; }) == "damaged");
    CHECK(kind([](json& v) { v["slots"][0]["label"] = "a\nb"; }) == "damaged");
    CHECK(kind([](json& v) { v["slots"][0]["label"] = std::string(129, 'x'); }) == "damaged");
    CHECK(kind([](json& v) { v["volume_id"] = "00"; }) == "damaged");
    CHECK(kind([](json& v) { v["features"] = {1}; }) == "damaged");
    CHECK(kind([](json& v) { v["features"] = {"base32-names", "base32-names"}; }) == "damaged");
}

TEST_CASE("generation keys are bound to volume and number", "[config][threat]") {
    const Volume a = make_volume();
    const Volume b = make_volume();
    REQUIRE(VolumeKeys::derive(a.config, a.key.bytes()));
    CHECK(kind_of(VolumeKeys::derive(a.config, b.key.bytes())) == "damaged");
    Config wrong = a.config;
    wrong.generations[0].number = 2;
    CHECK(kind_of(VolumeKeys::derive(wrong, a.key.bytes())) == "damaged");
    wrong = a.config;
    wrong.volume_id = b.config.volume_id;
    CHECK(kind_of(VolumeKeys::derive(wrong, a.key.bytes())) == "damaged");
    wrong = a.config;
    wrong.generations.clear();
    CHECK(kind_of(VolumeKeys::derive(wrong, a.key.bytes())) == "damaged");
    const auto keys = VolumeKeys::derive(a.config, a.key.bytes());
    CHECK((*keys)->current().number == 1);
    CHECK((*keys)->generation(1) == &(*keys)->current());
    CHECK((*keys)->generation(2) == nullptr);
}

}  // namespace extencfs::volume
