// SPDX-License-Identifier: Apache-2.0
// Plaintext names to lower names and back (FORMAT.md "Names").
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "crypto/name_cipher.h"
#include "encfs/volume/error.h"
#include "encfs/volume/format.h"

namespace extencfs::volume {

enum class NameEncoding { kBase64Url, kBase32Hex };

struct LowerName {
    std::string entry;      // the lower directory entry
    std::string side_name;  // empty, or the side file that must exist beside a long entry
    ByteVector side_bytes;  // its contents
};

// THREADS: any, in parallel.
class NameCodec {
  public:
    static Result<NameCodec> create(BytesN<64> names_key, NameEncoding encoding);

    // ERRORS: kTooLong (above 255 bytes), kBadParameter (empty, '/', NUL, "." or ".."), kInternal.
    Result<LowerName> encode(const DirId& dir, std::string_view plain) const;
    // Decodes an entry that is not long. ERRORS: kNotVolumeName (reserved prefix, alphabet or
    // length), kDamaged (the SIV does not match: foreign, moved from elsewhere, or changed).
    Result<std::string> decode(const DirId& dir, std::string_view entry) const;

    // Long names: true for entries "extencfs.l.*".
    static bool is_long_entry(std::string_view entry);
    // The side file of a long entry.
    static std::string side_name_of(std::string_view long_entry);
    // Decodes from the side file's bytes; checks that they belong to the entry.
    Result<std::string> decode_long(const DirId& dir, std::string_view long_entry,
                                    Bytes side_bytes) const;

  private:
    explicit NameCodec(crypto::NameCipher cipher, NameEncoding encoding);
    crypto::NameCipher cipher_;
    NameEncoding encoding_;
};

}  // namespace extencfs::volume
