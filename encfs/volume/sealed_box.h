// SPDX-License-Identifier: Apache-2.0
// Small secrets sealed on their own: nonce 24 || ciphertext || tag 16, XChaCha20-Poly1305
// (FORMAT.md "Sealed boxes"). Inside encfs/volume only.
#pragma once

#include "encfs/volume/error.h"
#include "encfs/volume/format.h"

namespace extencfs::volume {

constexpr std::size_t kBoxNonceSize = 24;
constexpr std::size_t kBoxOverhead = 40;

// Seals `plain` under a fresh random nonce. `what` names it in errors. THREADS: any.
// ERRORS: kInternal, kNoMemory.
Result<ByteVector> seal_box(BytesN<32> key, Bytes aad, Bytes plain, const char* what);
// Opens into `plain`, whose size must be sealed.size() - kBoxOverhead.
// ERRORS: kDamaged (also for a length that no box has), kInternal, kNoMemory.
Result<void> open_box(BytesN<32> key, Bytes aad, Bytes sealed, MutBytes plain, const char* what);

}  // namespace extencfs::volume
