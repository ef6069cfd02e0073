// SPDX-License-Identifier: Apache-2.0
// extencfs.dir, the 96-byte identity of a directory (FORMAT.md "Directories").
#pragma once

#include <string_view>

#include "encfs/volume/error.h"
#include "encfs/volume/format.h"

namespace extencfs::volume {

using Binding = ByteArray<16>;

struct DirFile {
    std::uint32_t key_generation = 0;
    std::uint32_t next_generation = 0;  // while keys are being rotated; else equal
    DirId id{};
    Binding here{};  // binding A: where the directory is
    Binding next{};  // binding B: where a rename is taking it; all zero when none
};

// Binding of a directory to its place: BLAKE2b-128(bind key, parent id || entry).
Binding bind_place(BytesN<32> bind_key, const DirId& parent, std::string_view entry);

void encode_dir_file(const DirFile& dir, BytesN<32> mac_key, MutBytesN<kDirFileSize> out);
// ERRORS: kDamaged, kUnsupported.
Result<DirFile> decode_dir_file(BytesN<kDirFileSize> in, BytesN<32> mac_key);
// The key generation before the MAC can be checked (to find the key).
Result<std::uint32_t> peek_dir_generation(BytesN<kDirFileSize> in);

}  // namespace extencfs::volume
