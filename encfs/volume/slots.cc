// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/slots.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <chrono>

#include "crypto/kdf.h"
#include "crypto/random.h"
#include "encfs/volume/config_json.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/key_slot.h"
#include "encfs/volume/token_json.h"

namespace extencfs::volume {
namespace {

std::string now_utc() {
    const auto now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
    return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(now));
}

// With a salt of its own and the volume key wrapped. REQUIRES: id, kind and cost.
Result<crypto::Key256> seal_slot(KeySlot& slot, BytesN<16> volume_id, BytesN<32> volume_key,
                                 Bytes secret) {
    if (!is_token(slot.kind)) {
        if (auto drawn = crypto::fill_random(slot.salt); !drawn) {
            return from_crypto(drawn.error(), "random");
        }
    }
    return wrap_volume_key(slot, volume_id, volume_key, secret);
}

Result<void> check_cost(const std::vector<KeySlot>& slots) {
    if (total_cost_is_acceptable(slots)) return {};
    return fail(ErrorKind::kBadParameter, "key slots: too costly to try together");
}

}  // namespace

Result<crypto::SecretBytes> keyfile_secret(Bytes contents) {
    if (contents.empty() || contents.size() > kMostKeyfileBytes) {
        return fail(ErrorKind::kBadParameter, "key file: not 1 byte to 1 MiB");
    }
    crypto::SecretBytes secret(32);
    crypto::hash256(contents, MutBytesN<32>(secret.mutable_bytes().data(), 32));
    return secret;
}

const KeySlot* find_slot(const Config& config, std::uint32_t id) {
    const auto found = std::ranges::find(config.slots, id, &KeySlot::id);
    return found == config.slots.end() ? nullptr : &*found;
}

std::size_t openable_slots(const Config& config) {
    return static_cast<std::size_t>(std::ranges::count_if(
        config.slots, [](const KeySlot& slot) { return slot.kind != SlotKind::kForeign; }));
}

std::size_t slots_of_people(const Config& config) {
    return static_cast<std::size_t>(std::ranges::count_if(config.slots, [](const KeySlot& slot) {
        return slot.kind != SlotKind::kForeign && !is_token(slot.kind);
    }));
}

std::uint64_t work_of(const crypto::Argon2Cost& cost) {
    return std::uint64_t{cost.memory_kib} * cost.passes;
}

Result<void> next_revision(Config& config) {
    if (config.revision >= kMaxNumber) {
        return fail(ErrorKind::kBadParameter, "configuration: it was changed too often");
    }
    ++config.revision;
    return {};
}

Result<std::uint32_t> add_slot(Config& config, BytesN<32> volume_key, const NewSlot& slot,
                               Bytes secret, crypto::Key256* box_key) {
    if (!is_label(slot.label)) {
        return fail(ErrorKind::kBadParameter, "key slot label: not short printable UTF-8");
    }
    if (slot.kind == SlotKind::kForeign) {
        return fail(ErrorKind::kBadParameter, "key slot: of a kind that is not known");
    }
    if (config.slots.size() >= kMaxSlots || config.next_slot_id == UINT32_MAX) {
        return fail(ErrorKind::kBadParameter, "key slots: 32 are the most");
    }
    Config changed = config;
    if (auto next = next_revision(changed); !next) return std::unexpected(next.error());
    KeySlot& added = changed.slots.emplace_back();
    added.id = changed.next_slot_id++;
    added.kind = slot.kind;
    added.kind_name = slot_kind_name(slot.kind);
    added.label = slot.label;
    added.created = now_utc();
    added.changed = added.created;
    if (is_token(slot.kind)) {
        if (!is_sound_token(slot.kind, slot.token)) {
            return fail(ErrorKind::kBadParameter, "key slot: the format has no such token");
        }
        added.token = slot.token;
    } else {
        added.cost = slot.cost;
    }
    if (auto fits = check_cost(changed.slots); !fits) return std::unexpected(fits.error());
    auto sealed = seal_slot(added, config.volume_id, volume_key, secret);
    if (!sealed) return std::unexpected(sealed.error());
    if (box_key != nullptr) *box_key = std::move(*sealed);
    config = std::move(changed);
    return config.slots.back().id;
}

Result<void> change_slot(Config& config, BytesN<32> volume_key, std::uint32_t id,
                         const crypto::Argon2Cost& cost, Bytes secret) {
    Config changed = config;
    const auto slot = std::ranges::find(changed.slots, id, &KeySlot::id);
    if (slot == changed.slots.end() || slot->kind == SlotKind::kForeign || is_token(slot->kind)) {
        return fail(ErrorKind::kBadParameter, "key slot: there is none that can be changed");
    }
    if (auto next = next_revision(changed); !next) return next;
    slot->cost = cost;
    slot->changed = now_utc();
    if (auto fits = check_cost(changed.slots); !fits) return fits;
    if (auto sealed = seal_slot(*slot, config.volume_id, volume_key, secret); !sealed) {
        return std::unexpected(sealed.error());
    }
    config = std::move(changed);
    return {};
}

Result<void> remove_slot(Config& config, std::uint32_t id) {
    const auto slot = std::ranges::find(config.slots, id, &KeySlot::id);
    if (slot == config.slots.end()) {
        return fail(ErrorKind::kBadParameter, "key slot: there is none of that number");
    }
    if (auto next = next_revision(config); !next) return next;
    config.slots.erase(slot);
    return {};
}

Result<void> bring_back(Config& config, const Config& present) {
    if (config.volume_id != present.volume_id) {
        return fail(ErrorKind::kBadParameter, "it is of another volume");
    }
    for (const WrappedGeneration& generation : present.generations) {
        if (std::ranges::find(config.generations, generation.number, &WrappedGeneration::number) ==
            config.generations.end()) {
            return fail(ErrorKind::kBadParameter, "it lacks keys that the volume has by now");
        }
    }
    config.revision = std::max(config.revision, present.revision);
    config.next_slot_id = std::max(config.next_slot_id, present.next_slot_id);
    return next_revision(config);
}

}  // namespace extencfs::volume
