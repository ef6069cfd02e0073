// SPDX-License-Identifier: Apache-2.0
// Short texts (names), padded with NUL to a multiple of 16 and sealed with AES-SIV (FORMAT.md
// "Names"). Inside encfs/volume only.
#pragma once

#include <string>
#include <string_view>

#include "crypto/name_cipher.h"
#include "encfs/volume/error.h"
#include "encfs/volume/format.h"

namespace extencfs::volume {

// Size of what seal_padded() gives for a text of `plain_size` bytes.
constexpr std::size_t padded_siv_size(std::size_t plain_size) {
    return crypto::kSivTagSize + (plain_size + kNamePadding - 1) / kNamePadding * kNamePadding;
}

// REQUIRES: `plain` of 1..255 bytes, without NUL. ERRORS: kNoMemory, kInternal.
Result<ByteVector> seal_padded(const crypto::NameCipher& cipher, BytesN<16> owner,
                               std::string_view plain);
// ERRORS: kDamaged (a length that no text has, authentication, padding), kNoMemory, kInternal.
Result<std::string> open_padded(const crypto::NameCipher& cipher, BytesN<16> owner, Bytes sealed);

}  // namespace extencfs::volume
