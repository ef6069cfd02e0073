// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/rotation.h"

#include <algorithm>

#include "crypto/random.h"
#include "encfs/volume/config_json.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/features.h"
#include "encfs/volume/key_slot.h"
#include "encfs/volume/slots.h"

namespace extencfs::volume {
namespace {

// Every generation of `config` under another volume key.
Result<void> wrap_anew(Config& config, BytesN<32> from, BytesN<32> to) {
    for (WrappedGeneration& generation : config.generations) {
        auto key = unwrap_generation(generation, config.volume_id, from);
        if (!key) return std::unexpected(key.error());
        auto wrapped = wrap_generation(generation.number, config.volume_id, to, key->bytes());
        if (!wrapped) return std::unexpected(wrapped.error());
        generation = std::move(*wrapped);
    }
    return {};
}

}  // namespace

bool is_rotating(const Config& config) {
    return std::ranges::find(config.features, kFeatureKeyRotation) != config.features.end();
}

Result<BegunRotation> begin_rotation(const Config& present, BytesN<32> volume_key,
                                     std::uint32_t slot, Bytes secret) {
    if (is_rotating(present)) {
        return fail(ErrorKind::kBadParameter, "key rotation: one was begun already");
    }
    const KeySlot* kept = find_slot(present, slot);
    const std::uint32_t last = present.generations.back().number;
    if (kept == nullptr || kept->kind == SlotKind::kForeign) {
        return fail(ErrorKind::kBadParameter, "key slot: there is none that can be changed");
    }
    if (present.generations.size() >= kMaxGenerations || last == UINT32_MAX) {
        return fail(ErrorKind::kBadParameter, "key rotation: too many generations");
    }
    BegunRotation begun;
    begun.config = present;
    crypto::Key256 generation;
    for (const MutBytes random :
         {MutBytes(begun.volume_key.mutable_bytes()), MutBytes(generation.mutable_bytes())}) {
        if (auto drawn = crypto::fill_random(random); !drawn) {
            return from_crypto(drawn.error(), "random");
        }
    }
    const BytesN<32> fresh = begun.volume_key.bytes();
    if (auto done = wrap_anew(begun.config, volume_key, fresh); !done) {
        return std::unexpected(done.error());
    }
    auto wrapped = wrap_generation(last + 1, present.volume_id, fresh, generation.bytes());
    if (!wrapped) return std::unexpected(wrapped.error());
    begun.config.generations.push_back(std::move(*wrapped));
    const crypto::Argon2Cost cost = kept->cost;
    std::erase_if(begun.config.slots, [slot](const KeySlot& other) { return other.id != slot; });
    if (auto done = change_slot(begun.config, fresh, slot, cost, secret); !done) {
        return std::unexpected(done.error());
    }
    auto& features = begun.config.features;
    features.emplace_back(kFeatureKeyRotation);
    std::ranges::sort(features);
    return begun;
}

Result<Config> end_rotation(const Config& rotating) {
    if (!is_rotating(rotating)) {
        return fail(ErrorKind::kBadParameter, "key rotation: none was begun");
    }
    Config ended = rotating;
    std::erase(ended.features, kFeatureKeyRotation);
    ended.generations.erase(ended.generations.begin(), ended.generations.end() - 1);
    if (auto next = next_revision(ended); !next) return std::unexpected(next.error());
    return ended;
}

}  // namespace extencfs::volume
