// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/config.h"

#include "crypto/kdf.h"
#include "crypto/random.h"
#include "encfs/volume/config_json.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/features.h"
#include "encfs/volume/key_slot.h"
#include "encfs/volume/slots.h"

namespace extencfs::volume {
namespace {

ByteArray<32> authenticator(const Config& config, BytesN<32> volume_key) {
    crypto::Key256 key;
    crypto::derive_key(volume_key, crypto::KeyPurpose::kConfigMac, {}, key.mutable_bytes());
    ByteArray<32> mac;
    crypto::mac256(key.bytes(), bytes_of(canonical_config(config)), mac);
    return mac;
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

Result<Config> new_config(const NewVolume& choice, Bytes password, crypto::Key256& volume_key,
                          crypto::Key256* box_key) {
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
    auto slot = add_slot(config, volume_key.bytes(),
                         {.kind = SlotKind::kPassword, .cost = choice.cost, .label = choice.label},
                         password, box_key);
    if (!slot) return std::unexpected(slot.error());
    config.revision = 1;
    return config;
}

bool is_authentic(const Config& config, BytesN<32> volume_key) {
    return crypto::equal_constant_time(authenticator(config, volume_key), config.auth);
}

Result<OpenedSlot> open_slot(const Config& config, const OpeningSecret& secret) {
    // A hostile text came through parse_config(); a hostile structure is refused here.
    if (config.slots.size() > kMaxSlots || !total_cost_is_acceptable(config.slots)) {
        return fail(ErrorKind::kDamaged, "configuration: key slots cost too much to try");
    }
    Error last{ErrorKind::kWrongPassword, "no key slot opens"};
    for (const KeySlot& slot : config.slots) {
        if (slot.kind != secret.kind || slot.kind == SlotKind::kForeign) continue;
        if (secret.slot && *secret.slot != slot.id) continue;
        auto box_key =
            secret.is_box_key ? kept_box_key(secret.bytes) : slot_box_key(slot, secret.bytes);
        auto key = box_key ? unwrap_volume_key(slot, config.volume_id, box_key->bytes())
                           : Result<crypto::Key256>(std::unexpected(box_key.error()));
        if (!key) {
            // Another slot may still open; running out of memory must not pass for a wrong
            // password.
            if (key.error().kind != ErrorKind::kWrongPassword) last = key.error();
            continue;
        }
        if (!is_authentic(config, key->bytes())) {
            return fail(ErrorKind::kDamaged,
                        "configuration: changed by somebody without the volume key");
        }
        return OpenedSlot{std::move(*key), slot.id, std::move(*box_key)};
    }
    return std::unexpected(last);
}

Result<crypto::Key256> unlock(const Config& config, const OpeningSecret& secret) {
    auto opened = open_slot(config, secret);
    if (!opened) return std::unexpected(opened.error());
    return std::move(opened->volume_key);
}

}  // namespace extencfs::volume
