// SPDX-License-Identifier: Apache-2.0
// Text forms of bytes: base64url without padding (RFC 4648 section 5), base32hex in lower case
// without padding (RFC 4648 section 7), hexadecimal, and base64 as it is in EncFS configurations.
// Decoders are strict, but for what is said: one text for each value.
#pragma once

#include <expected>
#include <string>
#include <string_view>

#include "crypto/bytes.h"
#include "crypto/error.h"

namespace extencfs::crypto {

std::string base64url_encode(Bytes bytes);
// ERRORS: kBadParameter (character outside the alphabet, padding, non-zero spare bits, length).
Result<ByteVector> base64url_decode(std::string_view text);
// RFC 4648 section 4, padded. White space is skipped when decoding, as XML has it.
std::string base64_encode(Bytes bytes);
Result<ByteVector> base64_decode(std::string_view text);
std::string base32hex_encode(Bytes bytes);
Result<ByteVector> base32hex_decode(std::string_view text);
std::string hex_encode(Bytes bytes);
Result<ByteVector> hex_decode(std::string_view text);

}  // namespace extencfs::crypto
