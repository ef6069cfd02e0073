// SPDX-License-Identifier: Apache-2.0
// Extended attributes (FORMAT.md "Extended attributes").
#pragma once

#include <string>
#include <string_view>

#include "crypto/name_cipher.h"
#include "crypto/secret.h"
#include "encfs/volume/error.h"
#include "encfs/volume/format.h"

namespace extencfs::volume {

inline constexpr const char* kXattrPrefix = "user.extencfs.";

// `owner`: the file id or directory id that the attribute belongs to. THREADS: any.
class XattrCodec {
  public:
    static Result<XattrCodec> create(BytesN<64> name_key, BytesN<32> value_key);
    // ERRORS: kTooLong when the lower name would exceed 255 bytes.
    Result<std::string> encode_name(BytesN<16> owner, std::string_view name) const;
    // ERRORS: kNotVolumeName, kDamaged.
    Result<std::string> decode_name(BytesN<16> owner, std::string_view lower_name) const;
    Result<ByteVector> seal_value(BytesN<16> owner, std::string_view name, Bytes value) const;
    Result<ByteVector> open_value(BytesN<16> owner, std::string_view name, Bytes sealed) const;
    static constexpr std::size_t kValueOverhead = 40;

  private:
    XattrCodec(crypto::NameCipher names, BytesN<32> value_key);
    crypto::NameCipher names_;
    crypto::Key256 value_key_;
};

}  // namespace extencfs::volume
