// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/key_slot.h"

#include <algorithm>

#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "encfs/volume/config_json.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/sealed_box.h"
#include "encfs/volume/wire.h"

namespace extencfs::volume {
namespace {

static_assert(kWrappedKeySize == kBoxOverhead + 32);

// "x1s" || volume id || canonical JSON of what the key encryption key depends on.
ByteVector slot_aad(const KeySlot& slot, BytesN<16> volume_id) {
    const std::string parameters = canonical_slot_parameters(slot);
    ByteVector aad(3 + volume_id.size() + parameters.size());
    put_bytes(aad, 0, bytes_of("x1s"));
    put_bytes(aad, 3, volume_id);
    put_bytes(aad, 3 + volume_id.size(), bytes_of(parameters));
    return aad;
}

// "x1g" || volume id || number u32.
ByteArray<23> generation_aad(std::uint32_t number, BytesN<16> volume_id) {
    ByteArray<23> aad;
    put_bytes(aad, 0, bytes_of("x1g"));
    put_bytes(aad, 3, volume_id);
    put_le<std::uint32_t>(aad, 19, number);
    return aad;
}

crypto::Key256 generation_wrap_key(BytesN<32> volume_key) {
    crypto::Key256 key;
    crypto::derive_key(volume_key, crypto::KeyPurpose::kGenerationWrap, {}, key.mutable_bytes());
    return key;
}

}  // namespace

Result<crypto::Key256> slot_box_key(const KeySlot& slot, Bytes secret) {
    if (is_token(slot.kind)) {
        const auto key = kept_box_key(secret);
        if (!key) return std::unexpected(key.error());
        crypto::Key256 derived;
        crypto::derive_key(key->bytes(), crypto::KeyPurpose::kTokenWrap, {},
                           derived.mutable_bytes());
        return derived;
    }
    if (!crypto::argon2_cost_is_acceptable(slot.cost)) {
        return fail(ErrorKind::kBadParameter, "key slot: Argon2id cost out of range");
    }
    crypto::Key256 key;
    auto made = crypto::argon2id(secret, slot.salt, slot.cost, key.mutable_bytes());
    if (!made) return from_crypto(made.error(), "key slot: Argon2id");
    return key;
}

Result<crypto::Key256> kept_box_key(Bytes kept) {
    if (kept.size() != crypto::Key256::kSize) {
        return fail(ErrorKind::kWrongPassword, "no key slot opens");
    }
    return crypto::Key256(BytesN<32>(kept.data(), crypto::Key256::kSize));
}

Result<crypto::Key256> wrap_volume_key(KeySlot& slot, BytesN<16> volume_id, BytesN<32> volume_key,
                                       Bytes secret) {
    auto key = slot_box_key(slot, secret);
    if (!key) return key;
    auto box = seal_box(key->bytes(), slot_aad(slot, volume_id), volume_key, "key slot");
    crypto::forget_thread_keys();
    if (!box) return std::unexpected(box.error());
    slot.wrapped = std::move(*box);
    return key;
}

Result<crypto::Key256> unwrap_volume_key(const KeySlot& slot, BytesN<16> volume_id,
                                         BytesN<32> box_key) {
    crypto::Key256 volume_key;
    auto opened = open_box(box_key, slot_aad(slot, volume_id), slot.wrapped,
                           volume_key.mutable_bytes(), "key slot");
    crypto::forget_thread_keys();
    if (!opened && opened.error().kind == ErrorKind::kDamaged) {
        // A wrong password and a changed slot cannot be told apart.
        return fail(ErrorKind::kWrongPassword, "no key slot opens");
    }
    if (!opened) return std::unexpected(opened.error());
    return volume_key;
}

Result<WrappedGeneration> wrap_generation(std::uint32_t number, BytesN<16> volume_id,
                                          BytesN<32> volume_key, BytesN<32> generation_key) {
    const crypto::Key256 key = generation_wrap_key(volume_key);
    auto box =
        seal_box(key.bytes(), generation_aad(number, volume_id), generation_key, "generation key");
    crypto::forget_thread_keys();
    if (!box) return std::unexpected(box.error());
    return WrappedGeneration{.number = number, .wrapped = std::move(*box)};
}

Result<crypto::Key256> unwrap_generation(const WrappedGeneration& generation, BytesN<16> volume_id,
                                         BytesN<32> volume_key) {
    const crypto::Key256 key = generation_wrap_key(volume_key);
    crypto::Key256 generation_key;
    auto opened = open_box(key.bytes(), generation_aad(generation.number, volume_id),
                           generation.wrapped, generation_key.mutable_bytes(), "generation key");
    crypto::forget_thread_keys();
    if (!opened) return std::unexpected(opened.error());
    return generation_key;
}

}  // namespace extencfs::volume
