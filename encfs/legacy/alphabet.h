// SPDX-License-Identifier: Apache-2.0
// Bytes as the digits of names in EncFS volumes (FORMAT.md "Alphabets"): not those of RFC 4648.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "crypto/bytes.h"

namespace extencfs::legacy {

// 64 digits (",-0-9A-Za-z"), or 32 ("A-Z2-7", read in either case).
enum class Alphabet : std::uint8_t { kBase64, kBase32 };

// The lowest bits first; the last digit is filled up with zeros.
std::string to_digits(Bytes bytes, Alphabet alphabet);
// Spare bits of the last digit are not looked at. None for other characters.
std::optional<ByteVector> from_digits(std::string_view digits, Alphabet alphabet);

}  // namespace extencfs::legacy
