// SPDX-License-Identifier: Apache-2.0
// Blocks and headers of files in volumes of EncFS 2, sealed with AES-GCM-SIV (FORMAT.md "V7").
// Pure: bytes to bytes.
#pragma once

#include <cstdint>
#include <memory>

#include "crypto/gcm_siv.h"
#include "crypto/legacy_encfs.h"
#include "encfs/legacy/contents.h"
#include "encfs/legacy/layout.h"
#include "encfs/volume/error.h"

namespace extencfs::legacy {

// 96 bits, or the low 64 of them.
struct FileIv {
    std::uint64_t low = 0;
    std::uint32_t high = 0;
    bool operator==(const FileIv&) const = default;
};

// THREADS: any, in parallel.
class SealedCodec {
  public:
    // REQUIRES: layout.seal is one.
    SealedCodec(std::shared_ptr<const crypto::LegacyKey> key,
                std::shared_ptr<const crypto::GcmSivKey> seal, const ContentLayout& layout);

    const ContentLayout& layout() const { return layout_; }

    // `path_iv`: the chain value of the file's name where the volume binds files to their paths,
    // else 0. ERRORS: kInternal.
    Result<ByteVector> encode_header(const FileIv& file_iv, std::uint64_t path_iv) const;
    // `lower`: header_size() bytes; none where files have no header. ERRORS: kBadParameter,
    // kInternal.
    Result<FileIv> decode_header(Bytes lower, std::uint64_t path_iv) const;

    // As ContentCodec's. No nonce comes twice but where a block is written again, which the mode
    // bears.
    [[nodiscard]] Result<void> encode_block(std::uint64_t block_no, const FileIv& file_iv,
                                            Bytes plain, MutBytes out) const;
    Result<BlockState> decode_block(std::uint64_t block_no, const FileIv& file_iv,
                                    MutBytes block) const;

  private:
    std::shared_ptr<const crypto::LegacyKey> key_;
    std::shared_ptr<const crypto::GcmSivKey> seal_;
    ContentLayout layout_;
};

}  // namespace extencfs::legacy
