// SPDX-License-Identifier: Apache-2.0
// The unlocked whole of a format-1 volume: its keys and codecs.
#pragma once

#include <memory>
#include <span>

#include "encfs/volume/config.h"
#include "encfs/volume/content_codec.h"
#include "encfs/volume/dir_file.h"
#include "encfs/volume/file_header.h"
#include "encfs/volume/name_codec.h"
#include "encfs/volume/symlink_codec.h"
#include "encfs/volume/xattr_codec.h"

namespace extencfs::volume {

// Everything derived from one key generation. THREADS: const, any.
struct GenerationKeys {
    std::uint32_t number;
    crypto::Key256 content_root;
    crypto::Key256 header;
    crypto::Key256 dir_mac;
    crypto::Key256 dir_bind;
    NameCodec names;
    XattrCodec xattrs;
    SymlinkCodec symlinks;
};

class VolumeKeys {
  public:
    // Unwraps and derives every generation. ERRORS: kDamaged, kInternal, kNoMemory.
    static Result<std::unique_ptr<VolumeKeys>> derive(const Config& config, BytesN<32> volume_key);
    // nullptr when the volume has no such generation.
    const GenerationKeys* generation(std::uint32_t number) const;
    const GenerationKeys& current() const;  // that seals new things
    // All of them, ascending.
    std::span<const std::unique_ptr<GenerationKeys>> generations() const { return generations_; }
    crypto::AeadKind content_cipher() const { return content_cipher_; }
    const DirId& root_id() const { return root_id_; }

  private:
    VolumeKeys() = default;
    crypto::AeadKind content_cipher_{};
    DirId root_id_{};
    std::vector<std::unique_ptr<GenerationKeys>> generations_;
};

}  // namespace extencfs::volume
