// SPDX-License-Identifier: Apache-2.0
// Seals and opens runs of fragments (FORMAT.md "Contents", "Nonces"). Pure: bytes to bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "crypto/aead.h"
#include "crypto/secret.h"
#include "encfs/volume/error.h"
#include "encfs/volume/geometry.h"

namespace extencfs::volume {

enum class FragmentState : std::uint8_t {
    kGood,     // authenticated; `used` bytes of it are valid
    kHole,     // all zero bytes (or beyond the lower end), and the file is sparse: reads as zeros
    kZero,     // all zero bytes in a dense file: damage (or data that power loss took)
    kDamaged,  // authentication failed
    kMissing,  // the lower file ends before the fragment's end, and it is no hole
    kStale,    // epoch newer than the header allows
};

struct OpenedFragment {
    FragmentState state;
    std::uint16_t used;  // valid plaintext bytes, for kGood
};

// The key material of one file. THREADS: const members any, in parallel.
class ContentCodec {
  public:
    // `content_root`: of the header's key generation.
    static ContentCodec make(BytesN<32> content_root, crypto::AeadKind cipher, const FileId& id,
                             std::uint32_t cut);

    // Seals fragments [first, first + n) into `out`, which holds exactly their lower bytes,
    // back to back (fragments are contiguous below). `plain` holds the plaintext of those
    // fragments from fragment(first).plain_off, zero padded by the caller to the end of the last
    // fragment: plain.size() == sum of plain_size. `size`: the file's plaintext size after this
    // write, from which each fragment's `used` follows. One fresh random nonce for each fragment.
    // ERRORS: kInternal.
    [[nodiscard]] Result<void> seal(std::uint64_t first, std::uint64_t n, Bytes plain,
                                    std::uint64_t size, std::uint32_t epoch, MutBytes out) const;

    // Opens fragments [first, first + n) from `cipher`, the lower bytes from
    // fragment(first).cipher_off, which may end early (end of the lower file). Writes each
    // fragment's plaintext to its place in `plain` (sized as for seal; zeros where the state is
    // not kGood) and its state to `states` (n of them). Never leaves unauthenticated bytes in
    // `plain`. `header_epoch`: fragments above header_epoch + 1 are kStale.
    // ERRORS: kInternal only (damage is in `states`).
    [[nodiscard]] Result<void> open(std::uint64_t first, std::uint64_t n, Bytes cipher,
                                    std::uint32_t header_epoch, bool sparse, MutBytes plain,
                                    std::span<OpenedFragment> states) const;

  private:
    ContentCodec() = default;
    Result<void> seal_one(crypto::AeadContext& context, const Fragment& piece,
                          BytesN<kFragmentNonceSize> stored, std::uint32_t word, Bytes text,
                          MutBytes out) const;
    Result<OpenedFragment> open_one(crypto::AeadContext& context, const Fragment& piece,
                                    Bytes lower, std::uint32_t header_epoch, bool sparse,
                                    MutBytes text) const;
    crypto::AeadKind cipher_{};
    crypto::Key256 file_key_;
};

}  // namespace extencfs::volume
