// SPDX-License-Identifier: Apache-2.0
// Blocks and headers of files in EncFS 1.x volumes (FORMAT.md "Contents"). Pure: bytes to bytes.
// What a MAC of EncFS does not see (a block's place, the file's end) nobody can check.
#pragma once

#include <cstdint>
#include <memory>

#include "crypto/legacy_encfs.h"
#include "encfs/legacy/layout.h"
#include "encfs/volume/error.h"

namespace extencfs::legacy {

using volume::Result;

enum class BlockState : std::uint8_t {
    kGood,     // its MAC matches; without MACs, always
    kHole,     // zero bytes below, in a volume that allows holes
    kDamaged,  // the MAC does not match
};

// What is done with a MAC: a volume's owner may want what is left of damaged files.
enum class MacPolicy : std::uint8_t { kCheck, kIgnore };

// THREADS: any, in parallel.
class ContentCodec {
  public:
    ContentCodec(std::shared_ptr<const crypto::LegacyKey> key, const ContentLayout& layout,
                 MacPolicy policy = MacPolicy::kCheck);

    const ContentLayout& layout() const { return layout_; }

    // `path_iv`: the chain value of the file's name where the volume binds files to their paths,
    // else 0. `file_iv`: never 0. ERRORS: kInternal.
    Result<ByteArray<kFileHeaderSize>> encode_header(std::uint64_t file_iv,
                                                     std::uint64_t path_iv) const;
    Result<std::uint64_t> decode_header(BytesN<kFileHeaderSize> lower, std::uint64_t path_iv) const;

    // `plain`: 1 to data_size() bytes, fewer only in a file's last block. `out`: overhead() more.
    // ERRORS: kBadParameter, kInternal.
    [[nodiscard]] Result<void> encode_block(std::uint64_t block_no, std::uint64_t file_iv,
                                            Bytes plain, MutBytes out) const;
    // In place. `block`: more than overhead() and at most block_size bytes, fewer than that only at
    // the file's end; afterwards what lies beyond the first overhead() bytes is the plaintext,
    // zeros unless the block is good. ERRORS: as above.
    Result<BlockState> decode_block(std::uint64_t block_no, std::uint64_t file_iv,
                                    MutBytes block) const;

  private:
    Result<std::uint64_t> block_mac(Bytes random_and_data) const;
    std::shared_ptr<const crypto::LegacyKey> key_;
    ContentLayout layout_;
    MacPolicy policy_;
};

}  // namespace extencfs::legacy
