// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/alphabet.h"

#include <array>

namespace extencfs::legacy {

namespace {

constexpr std::string_view kDigits64 =
    ",-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
constexpr std::string_view kDigits32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
constexpr std::uint8_t kNone = 0xff;

using Values = std::array<std::uint8_t, 256>;

constexpr Values values_of(std::string_view digits, bool either_case) {
    Values values{};
    values.fill(kNone);
    for (std::size_t i = 0; i < digits.size(); ++i) {
        const auto digit = static_cast<unsigned char>(digits[i]);
        values[digit] = static_cast<std::uint8_t>(i);
        if (either_case && digit >= 'A' && digit <= 'Z')
            values[digit - 'A' + 'a'] = static_cast<std::uint8_t>(i);
    }
    return values;
}

constexpr Values kValues64 = values_of(kDigits64, false);
constexpr Values kValues32 = values_of(kDigits32, true);

}  // namespace

std::string to_digits(Bytes bytes, Alphabet alphabet) {
    const bool base64 = alphabet == Alphabet::kBase64;
    const std::string_view digits = base64 ? kDigits64 : kDigits32;
    const unsigned width = base64 ? 6 : 5;
    std::string text;
    text.reserve((bytes.size() * 8 + width - 1) / width);
    unsigned held = 0, bits = 0;
    for (const std::byte byte : bytes) {
        held |= static_cast<unsigned>(byte) << bits;
        for (bits += 8; bits >= width; bits -= width) {
            text += digits[held % digits.size()];
            held >>= width;
        }
    }
    if (bits > 0) text += digits[held];
    return text;
}

std::optional<ByteVector> from_digits(std::string_view digits, Alphabet alphabet) {
    const bool base64 = alphabet == Alphabet::kBase64;
    const Values& values = base64 ? kValues64 : kValues32;
    const unsigned width = base64 ? 6 : 5;
    ByteVector bytes;
    bytes.reserve(digits.size() * width / 8);
    unsigned held = 0, bits = 0;
    for (const char digit : digits) {
        const std::uint8_t value = values[static_cast<unsigned char>(digit)];
        if (value == kNone) return std::nullopt;
        held |= static_cast<unsigned>(value) << bits;
        bits += width;
        if (bits < 8) continue;
        bytes.push_back(static_cast<std::byte>(held));
        held >>= 8;
        bits -= 8;
    }
    return bytes;
}

}  // namespace extencfs::legacy
