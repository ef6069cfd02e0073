// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/config.h"

#include <fmt/chrono.h>

#include <chrono>

#include "crypto/kdf.h"
#include "crypto/random.h"
#include "encfs/volume/config_json.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/features.h"
#include "encfs/volume/key_slot.h"

namespace extencfs::volume {
namespace {

std::string now_utc() {
    const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
}

ByteArray<32> authenticator(const Config& config, BytesN<32> volume_key) {
    crypto::Key256 key;
    crypto::derive_key(volume_key, crypto::KeyPurpose::kConfigMac, {}, key.mutable_bytes());
    ByteArray<32> mac;
    crypto::mac256(key.bytes(), bytes_of(canonical_config(config)), mac);
    return mac;
}

bool cost_fits(const Config& config, const crypto::Argon2Cost& cost) {
    std::vector<KeySlot> slots = config.slots;
    slots.emplace_back().cost = cost;
    return total_cost_is_acceptable(slots);
}

Result<void> draw(MutBytes out) {
    if (auto drawn = crypto::fill_random(out); !drawn) return from_crypto(drawn.error(), "random");
    return {};
}

}  // namespace

std::string serialize_config(const Config& config, BytesN<32> volume_key) {
    Config whole = config;
    whole.auth = authenticator(config, volume_key);
    return readable_config(whole);
}

Result<Config> new_config(const NewVolume& choice, Bytes password, crypto::Key256& volume_key) {
    Config config;
    config.creator = "extencfs " EXTENCFS_VERSION;
    config.content_cipher = choice.content_cipher;
    config.name_encoding = choice.name_encoding;
    config.features = features_for(choice.name_encoding);
    crypto::Key256 generation;
    for (const MutBytes random :
         {MutBytes(config.volume_id), MutBytes(config.root_id),
          MutBytes(volume_key.mutable_bytes()), MutBytes(generation.mutable_bytes())}) {
        if (auto drawn = draw(random); !drawn) return std::unexpected(drawn.error());
    }
    auto wrapped = wrap_generation(1, config.volume_id, volume_key.bytes(), generation.bytes());
    if (!wrapped) return std::unexpected(wrapped.error());
    config.generations.push_back(std::move(*wrapped));
    auto slot = add_password_slot(config, volume_key.bytes(), password, choice.cost, choice.label);
    if (!slot) return std::unexpected(slot.error());
    config.revision = 1;
    return config;
}

Result<crypto::Key256> unlock(const Config& config, Bytes password) {
    // A hostile text came through parse_config(); a hostile structure is refused here.
    if (config.slots.size() > kMaxSlots || !total_cost_is_acceptable(config.slots)) {
        return fail(ErrorKind::kDamaged, "configuration: key slots cost too much to try");
    }
    Error last{ErrorKind::kWrongPassword, "no key slot opens with this password"};
    for (const KeySlot& slot : config.slots) {
        if (slot.kind != SlotKind::kPassword) continue;
        auto key = unwrap_volume_key(slot, config.volume_id, password);
        if (!key) {
            // Another slot may still open; running out of memory must not pass for a wrong
            // password.
            if (key.error().kind != ErrorKind::kWrongPassword) last = key.error();
            continue;
        }
        if (!crypto::equal_constant_time(authenticator(config, key->bytes()), config.auth)) {
            return fail(ErrorKind::kDamaged,
                        "configuration: changed by somebody without the volume key");
        }
        return key;
    }
    return std::unexpected(last);
}

Result<std::uint32_t> add_password_slot(Config& config, BytesN<32> volume_key, Bytes password,
                                        const crypto::Argon2Cost& cost, std::string label) {
    if (!is_label(label)) {
        return fail(ErrorKind::kBadParameter, "key slot label: not short printable UTF-8");
    }
    if (config.slots.size() >= kMaxSlots || config.next_slot_id == UINT32_MAX) {
        return fail(ErrorKind::kBadParameter, "key slots: 32 are the most");
    }
    if (!cost_fits(config, cost)) {
        return fail(ErrorKind::kBadParameter, "key slots: too costly to try together");
    }
    KeySlot slot;
    slot.id = config.next_slot_id;
    slot.label = std::move(label);
    slot.created = now_utc();
    slot.changed = slot.created;
    slot.cost = cost;
    if (auto drawn = draw(slot.salt); !drawn) return std::unexpected(drawn.error());
    if (auto wrapped = wrap_volume_key(slot, config.volume_id, volume_key, password); !wrapped) {
        return std::unexpected(wrapped.error());
    }
    config.slots.push_back(std::move(slot));
    ++config.revision;
    return config.next_slot_id++;
}

}  // namespace extencfs::volume
