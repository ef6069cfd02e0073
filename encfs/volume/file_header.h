// SPDX-License-Identifier: Apache-2.0
// The 64-byte authenticated header of a regular file (FORMAT.md "File header").
#pragma once

#include <cstdint>

#include "crypto/aead.h"
#include "encfs/volume/error.h"
#include "encfs/volume/format.h"

namespace extencfs::volume {

struct FileHeader {
    crypto::AeadKind cipher;
    bool sparse = false;  // all-zero fragments are holes
    std::uint32_t key_generation = 0;
    std::uint32_t epoch = 0;  // at most kMaxEpoch
    std::uint64_t size = 0;   // plaintext bytes
    FileId id{};
    std::uint32_t cut = 0;  // counts truncations to nothing
};

void encode_header(const FileHeader& header, BytesN<32> header_key, MutBytesN<kFileHeaderSize> out);
// ERRORS: kDamaged (magic, MAC, a value out of range), kUnsupported (version, cipher, flags: told
// only after the MAC matched, but for the version).
Result<FileHeader> decode_header(BytesN<kFileHeaderSize> in, BytesN<32> header_key);
// The key generation of a header before its MAC can be checked (to find the key).
Result<std::uint32_t> peek_generation(BytesN<kFileHeaderSize> in);

}  // namespace extencfs::volume
