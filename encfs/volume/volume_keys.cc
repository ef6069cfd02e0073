// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/volume_keys.h"

#include <algorithm>

#include "crypto/kdf.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/key_slot.h"

namespace extencfs::volume {
namespace {

crypto::Key256 derived(const crypto::Key256& generation, crypto::KeyPurpose purpose) {
    crypto::Key256 key;
    crypto::derive_key(generation.bytes(), purpose, {}, key.mutable_bytes());
    return key;
}

crypto::SivKey derived_siv(const crypto::Key256& generation, crypto::KeyPurpose purpose) {
    crypto::SivKey key;
    crypto::derive_key(generation.bytes(), purpose, {}, key.mutable_bytes());
    return key;
}

Result<std::unique_ptr<GenerationKeys>> derive_generation(std::uint32_t number,
                                                          const crypto::Key256& generation,
                                                          NameEncoding encoding) {
    using crypto::KeyPurpose;
    auto names = NameCodec::create(derived_siv(generation, KeyPurpose::kNames).bytes(), encoding);
    if (!names) return std::unexpected(names.error());
    auto xattrs = XattrCodec::create(derived_siv(generation, KeyPurpose::kXattrName).bytes(),
                                     derived(generation, KeyPurpose::kXattr).bytes());
    if (!xattrs) return std::unexpected(xattrs.error());
    return std::unique_ptr<GenerationKeys>(new GenerationKeys{
        .number = number,
        .content_root = derived(generation, KeyPurpose::kContent),
        .header = derived(generation, KeyPurpose::kHeader),
        .dir_mac = derived(generation, KeyPurpose::kDirectoryMac),
        .dir_bind = derived(generation, KeyPurpose::kDirectoryBind),
        .names = std::move(*names),
        .xattrs = std::move(*xattrs),
        .symlinks = SymlinkCodec(derived(generation, KeyPurpose::kSymlink).bytes()),
    });
}

}  // namespace

Result<std::unique_ptr<VolumeKeys>> VolumeKeys::derive(const Config& config,
                                                       BytesN<32> volume_key) {
    std::unique_ptr<VolumeKeys> keys(new VolumeKeys);
    keys->content_cipher_ = config.content_cipher;
    keys->root_id_ = config.root_id;
    for (const WrappedGeneration& wrapped : config.generations) {
        auto generation = unwrap_generation(wrapped, config.volume_id, volume_key);
        if (!generation) return std::unexpected(generation.error());
        auto derived_keys = derive_generation(wrapped.number, *generation, config.name_encoding);
        if (!derived_keys) return std::unexpected(derived_keys.error());
        keys->generations_.push_back(std::move(*derived_keys));
    }
    if (keys->generations_.empty()) {
        return fail(ErrorKind::kDamaged, "configuration: no key generation");
    }
    return keys;
}

const GenerationKeys* VolumeKeys::generation(std::uint32_t number) const {
    const auto found =
        std::ranges::find(generations_, number, [](const auto& keys) { return keys->number; });
    return found == generations_.end() ? nullptr : found->get();
}

const GenerationKeys& VolumeKeys::current() const {
    return *generations_.back();
}

}  // namespace extencfs::volume
