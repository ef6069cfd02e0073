// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/config_json.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "crypto/encoding.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/features.h"
#include "encfs/volume/json_reader.h"
#include "encfs/volume/key_slot.h"
#include "encfs/volume/token_json.h"
#include "encfs/volume/wire.h"

namespace extencfs::volume {
namespace {

using nlohmann::json;

// ---- values and their texts ----

template <typename Value>
struct Word {
    Value value;
    std::string_view text;
};
constexpr std::array kCiphers{
    Word<crypto::AeadKind>{crypto::AeadKind::kAes256Gcm, "aes-256-gcm"},
    Word<crypto::AeadKind>{crypto::AeadKind::kXChaCha20Poly1305, "xchacha20-poly1305"},
};
constexpr std::array kEncodings{
    Word<NameEncoding>{NameEncoding::kBase64Url, "base64url"},
    Word<NameEncoding>{NameEncoding::kBase32Hex, "base32hex"},
};
constexpr std::array kSlotKinds{
    Word<SlotKind>{SlotKind::kPassword, "password"}, Word<SlotKind>{SlotKind::kKeyfile, "keyfile"},
    Word<SlotKind>{SlotKind::kRecovery, "recovery"}, Word<SlotKind>{SlotKind::kSystemd, "systemd"},
    Word<SlotKind>{SlotKind::kTpm2, "tpm2"},         Word<SlotKind>{SlotKind::kFido2, "fido2"},
};

constexpr std::string_view kFormat = "extencfs";
constexpr std::string_view kArgon2id = "argon2id";
constexpr std::size_t kMaxFeatures = 64;

template <typename Words, typename Value>
std::string_view text_for(const Words& words, Value value) {
    return std::ranges::find(words, value, [](const auto& word) { return word.value; })->text;
}

// ---- structure to JSON ----

json kdf_json(const crypto::Argon2Cost& cost) {
    return {{"algorithm", kArgon2id},
            {"memory_kib", cost.memory_kib},
            {"passes", cost.passes},
            {"lanes", cost.lanes}};
}

json slot_parameters_json(const KeySlot& slot) {
    if (is_token(slot.kind)) {
        return {{"id", slot.id},
                {"kind", slot.kind_name},
                {"token", token_json(slot.kind, slot.token)}};
    }
    return {{"id", slot.id},
            {"kind", slot.kind_name},
            {"kdf", kdf_json(slot.cost)},
            {"salt", crypto::base64url_encode(slot.salt)}};
}

json slot_json(const KeySlot& slot) {
    if (slot.kind == SlotKind::kForeign) return json::parse(slot.foreign, nullptr, false);
    json out = slot_parameters_json(slot);
    out["label"] = slot.label;
    out["created"] = slot.created;
    out["changed"] = slot.changed;
    out["wrapped"] = crypto::base64url_encode(slot.wrapped);
    return out;
}

json config_json(const Config& config) {
    json out = {{"format", kFormat},
                {"version", config.version},
                {"features", config.features},
                {"volume_id", crypto::hex_encode(config.volume_id)},
                {"revision", config.revision},
                {"creator", config.creator},
                {"content_cipher", text_for(kCiphers, config.content_cipher)},
                {"name_encoding", text_for(kEncodings, config.name_encoding)},
                {"root_id", crypto::base64url_encode(config.root_id)},
                {"generations", json::array()},
                {"slots", json::array()},
                {"next_slot_id", config.next_slot_id}};
    for (const WrappedGeneration& generation : config.generations) {
        out["generations"].push_back({{"number", generation.number},
                                      {"wrapped", crypto::base64url_encode(generation.wrapped)}});
    }
    for (const KeySlot& slot : config.slots) out["slots"].push_back(slot_json(slot));
    return out;
}

std::string dump(const json& value, int indent) {
    // `replace`: never throws, and what is written is what is authenticated.
    return value.dump(indent, ' ', false, json::error_handler_t::replace);
}

// ---- JSON to structure ----

// "2026-01-31T23:59:59Z": the shape, not the calendar; times are for people.
bool is_time(std::string_view text) {
    constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:ddZ";
    return std::ranges::equal(text, kShape, [](char c, char shape) {
        return shape == 'd' ? c >= '0' && c <= '9' : c == shape;
    });
}

std::string read_time(ObjectReader& in, const char* name, Problem& problem) {
    std::string value = in.text(name);
    if (!is_time(value)) problem.damaged(in.path(name), "not a time");
    return value;
}

crypto::Argon2Cost read_kdf(const json& value, const std::string& where, Problem& problem) {
    ObjectReader in(value, where, problem);
    if (in.text("algorithm") != kArgon2id) {
        problem.unsupported(in.path("algorithm"), "unknown value");
    }
    const crypto::Argon2Cost cost{.memory_kib = in.number32("memory_kib", 0),
                                  .passes = in.number32("passes", 0),
                                  .lanes = in.number32("lanes", 0)};
    if (!crypto::argon2_cost_is_acceptable(cost)) problem.damaged(where, "cost out of range");
    in.no_other_members();
    return cost;
}

constexpr std::size_t kMaxForeignSlot = 16 * 1024;  // bytes in canonical form
constexpr int kMaxForeignDepth = 4;                 // of lists and objects, the slot itself too

bool is_printable(std::string_view text) {
    return std::ranges::none_of(
        text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

// What has one canonical form, whoever writes it.
bool has_canonical_form(const json& value, int depth) {
    if (value.is_boolean()) return true;
    if (value.is_string()) return is_printable(value.get_ref<const std::string&>());
    if (value.is_number()) {
        return value.is_number_unsigned() && value.get<std::uint64_t>() <= kMaxNumber;
    }
    if (!value.is_structured() || depth == kMaxForeignDepth) return false;
    for (const auto& item : value.items()) {
        if (value.is_object() && !is_printable(item.key())) return false;
        if (!has_canonical_form(item.value(), depth + 1)) return false;
    }
    return true;
}

bool is_kind_name(std::string_view name) {
    constexpr std::size_t kMost = 32;
    return !name.empty() && name.size() <= kMost && std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
    });
}

KeySlot read_slot(const json& value, const std::string& where, Problem& problem) {
    ObjectReader in(value, where, problem);
    KeySlot slot;
    slot.id = in.number32("id", 1);
    slot.kind_name = in.text("kind");
    if (!is_kind_name(slot.kind_name)) problem.damaged(in.path("kind"), "not the name of a kind");
    const auto* known = std::ranges::find(kSlotKinds, slot.kind_name, &Word<SlotKind>::text);
    slot.kind = known == kSlotKinds.end() ? SlotKind::kForeign : known->value;
    slot.label = in.label("label");
    slot.created = read_time(in, "created", problem);
    slot.changed = read_time(in, "changed", problem);
    if (slot.kind == SlotKind::kForeign) {
        if (!has_canonical_form(value, 0)) {
            problem.damaged(where, "no canonical form");
            return slot;
        }
        slot.foreign = dump(value, -1);
        if (slot.foreign.size() > kMaxForeignSlot) problem.damaged(where, "above 16 KiB");
        return slot;
    }
    if (is_token(slot.kind)) {
        slot.token = read_token(slot.kind, in.member("token"), in.path("token"), problem);
    } else {
        slot.cost = read_kdf(in.member("kdf"), in.path("kdf"), problem);
        slot.salt = in.byte_array<32>("salt");
    }
    slot.wrapped = in.bytes("wrapped", kWrappedKeySize);
    in.no_other_members();
    return slot;
}

WrappedGeneration read_generation(const json& value, const std::string& where, Problem& problem) {
    ObjectReader in(value, where, problem);
    WrappedGeneration generation;
    generation.number = in.number32("number", 1);
    generation.wrapped = in.bytes("wrapped", kWrappedKeySize);
    in.no_other_members();
    return generation;
}

std::string element_path(const char* name, std::size_t index) {
    return std::string(name) + "[" + std::to_string(index) + "]";
}

void read_slots(ObjectReader& in, Config& config, Problem& problem) {
    std::uint32_t before = 0;
    for (const json& value : in.array("slots", 0, kMaxSlots)) {
        const std::string where = element_path("slots", config.slots.size());
        config.slots.push_back(read_slot(value, where, problem));
        if (config.slots.back().id <= before) problem.damaged(where, "ids do not ascend");
        before = config.slots.back().id;
    }
    config.next_slot_id = in.number32("next_slot_id", 1);
    if (config.next_slot_id <= before) problem.damaged("next_slot_id", "already taken");
    if (!total_cost_is_acceptable(config.slots)) problem.damaged("slots", "too costly together");
}

void read_generations(ObjectReader& in, Config& config, Problem& problem) {
    std::uint32_t before = 0;
    for (const json& value : in.array("generations", 1, kMaxGenerations)) {
        const std::string where = element_path("generations", config.generations.size());
        config.generations.push_back(read_generation(value, where, problem));
        const std::uint32_t number = config.generations.back().number;
        if (number <= before) problem.damaged(where, "numbers do not ascend");
        before = number;
    }
}

void read_features(ObjectReader& in, Config& config, Problem& problem) {
    for (const json& value : in.array("features", 0, kMaxFeatures)) {
        if (!value.is_string()) {
            problem.damaged("features", "not a list of texts");
            return;
        }
        config.features.push_back(value.get<std::string>());
    }
}

Result<json> parse_text(std::string_view text) {
    if (text.size() > kMaxConfigText) {
        return fail(ErrorKind::kDamaged, "configuration: above 1 MiB");
    }
    // The library keeps the last of two members of one name; two readers could keep different ones.
    std::vector<std::set<std::string>> open_objects;
    bool duplicate = false;
    const auto watch = [&](int, json::parse_event_t event, json& parsed) {
        if (event == json::parse_event_t::object_start) open_objects.emplace_back();
        if (event == json::parse_event_t::object_end) open_objects.pop_back();
        if (event == json::parse_event_t::key) {
            duplicate |= !open_objects.back().insert(parsed.get<std::string>()).second;
        }
        return true;
    };
    json parsed = json::parse(text.begin(), text.end(), watch, false);
    if (parsed.is_discarded()) return fail(ErrorKind::kDamaged, "configuration: not JSON");
    if (duplicate) return fail(ErrorKind::kDamaged, "configuration: a member is given twice");
    return parsed;
}

Result<Config> read_config(const json& parsed) {
    Problem problem;
    Config config;
    ObjectReader in(parsed, "", problem);
    // Version and features come first: they explain everything else that looks wrong.
    if (in.text("format") != kFormat) problem.damaged("format", "not a volume of this program");
    config.version = in.number32("version", 1);
    if (config.version != kFormatVersion) problem.unsupported("version", "unknown format version");
    read_features(in, config, problem);
    if (problem.seen()) return problem.take();
    if (auto known = validate(std::span(config.features)); !known) {
        return std::unexpected(known.error());
    }
    config.volume_id = in.hex16("volume_id");
    config.revision = in.number("revision", 1, kMaxNumber);
    config.creator = in.label("creator");
    config.content_cipher = in.word("content_cipher", kCiphers);
    config.name_encoding = in.word("name_encoding", kEncodings);
    config.root_id = in.byte_array<16>("root_id");
    read_generations(in, config, problem);
    read_slots(in, config, problem);
    config.auth = in.byte_array<32>("auth");
    in.no_other_members();
    if (problem.seen()) return problem.take();
    if (auto legal = validate(config); !legal) return std::unexpected(legal.error());
    return config;
}

}  // namespace

std::string_view slot_kind_name(SlotKind kind) {
    return text_for(kSlotKinds, kind);
}

std::string canonical_config(const Config& config) {
    return dump(config_json(config), -1);
}

std::string canonical_slot_parameters(const KeySlot& slot) {
    return dump(slot_parameters_json(slot), -1);
}

std::string readable_config(const Config& config) {
    json out = config_json(config);
    out["auth"] = crypto::base64url_encode(config.auth);
    std::string text = dump(out, 2) + "\n";
    // Lists of slots of unknown kinds grow by indentation; what is written must be readable.
    return text.size() <= kMaxConfigText ? text : dump(out, -1) + "\n";
}

bool is_label(std::string_view text) {
    if (text.size() > kMaxLabel) return false;
    std::string quoted = "\"";
    for (const char c : text) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
        quoted += c == '"' || c == '\\' ? '_' : c;
    }
    // The library is the judge of UTF-8: it takes the quoted text or not.
    return json::accept(quoted + '"');
}

bool total_cost_is_acceptable(const std::vector<KeySlot>& slots) {
    constexpr std::uint64_t kMost =
        std::uint64_t{crypto::kArgon2Most.memory_kib} * crypto::kArgon2Most.passes;
    std::uint64_t total = 0;
    for (const KeySlot& slot : slots) {
        total += std::uint64_t{slot.cost.memory_kib} * slot.cost.passes;
        if (total > kMost) return false;
    }
    return true;
}

Result<Config> parse_config(std::string_view text) {
    // The library throws only for what the calls above rule out, and for want of memory.
    try {
        const auto parsed = parse_text(text);
        if (!parsed) return std::unexpected(parsed.error());
        return read_config(*parsed);
    } catch (const std::exception&) {
        return fail(ErrorKind::kInternal, "configuration: could not be read");
    }
}

}  // namespace extencfs::volume
