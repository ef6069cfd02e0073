// SPDX-License-Identifier: Apache-2.0
// Symlink targets and xattrs (FORMAT.md "Symlinks", "Extended attributes").
#pragma once

#include <string>
#include <string_view>

#include "crypto/secret.h"
#include "encfs/volume/error.h"
#include "encfs/volume/format.h"

namespace extencfs::volume {

// Longest target that fits the lower symlink itself; longer ones (to 4,095) are kept in
// kLongSymlinkDir and the lower symlink is a reference to them.
constexpr std::size_t kMaxInlineTarget = 3031;
constexpr std::size_t kMaxTarget = 4095;

// A lower symlink that refers to kLongSymlinkDir/<id>: "extencfs.s.<id>.<plaintext length>".
struct LongTargetRef {
    std::string id;    // 22 characters, also the file's name in kLongSymlinkDir
    std::size_t size;  // plaintext length
};

// THREADS: any.
class SymlinkCodec {
  public:
    explicit SymlinkCodec(BytesN<32> key);
    // base64url(nonce 24 || sealed || tag 16), XChaCha20-Poly1305.
    Result<std::string> seal_inline(std::string_view target) const;
    Result<std::string> open_inline(std::string_view lower_target) const;
    // Plaintext length from the lower symlink's st_size, without reading it;
    // 0 where that is a reference or no such length exists.
    static std::size_t inline_size(std::size_t lower_size);
    // For long targets: the reference to put in the symlink, and the file's bytes.
    struct Long {
        LongTargetRef ref;
        std::string lower_target;
        ByteVector file_bytes;
    };
    Result<Long> seal_long(std::string_view target) const;
    static Result<LongTargetRef> parse_ref(std::string_view lower_target);
    Result<std::string> open_long(const LongTargetRef& ref, Bytes file_bytes) const;

  private:
    crypto::Key256 key_;
};

}  // namespace extencfs::volume
