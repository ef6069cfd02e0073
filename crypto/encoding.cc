// SPDX-License-Identifier: Apache-2.0
#include "crypto/encoding.h"

#include <array>

namespace extencfs::crypto {

namespace {

// A text form with 2^kBits letters, most significant bits first, unpadded: RFC 4648 with kBits of
// 6, 5 and 4.
template <unsigned kBits>
class Radix {
  public:
    consteval explicit Radix(std::string_view alphabet) {
        values_.fill(kNoLetter);
        for (unsigned value = 0; value < (1U << kBits); ++value) {
            letters_[value] = alphabet[value];
            values_[static_cast<unsigned char>(alphabet[value])] = static_cast<std::uint8_t>(value);
        }
    }

    std::string encode(Bytes bytes) const {
        std::string text;
        text.reserve((bytes.size() * 8 + kBits - 1) / kBits);
        std::uint32_t pending = 0;
        unsigned pending_bits = 0;
        for (const std::byte byte : bytes) {
            pending = pending << 8 | std::to_integer<std::uint32_t>(byte);
            for (pending_bits += 8; pending_bits >= kBits;) {
                pending_bits -= kBits;
                text.push_back(letters_[pending >> pending_bits & kMask]);
            }
        }
        if (pending_bits > 0) text.push_back(letters_[pending << (kBits - pending_bits) & kMask]);
        return text;
    }

    Result<ByteVector> decode(std::string_view text) const {
        ByteVector bytes;
        bytes.reserve(text.size() * kBits / 8);
        std::uint32_t pending = 0;
        unsigned pending_bits = 0;
        for (const char letter : text) {
            const std::uint8_t value = values_[static_cast<unsigned char>(letter)];
            if (value == kNoLetter) return std::unexpected(Error::kBadParameter);
            pending = pending << kBits | value;
            pending_bits += kBits;
            if (pending_bits >= 8) {
                pending_bits -= 8;
                bytes.push_back(static_cast<std::byte>(pending >> pending_bits & 0xFF));
            }
        }
        // A last letter that adds no byte, or spare bits that are set, would be a second text for
        // the same value.
        const std::uint32_t spare = pending & ((1U << pending_bits) - 1);
        if (pending_bits >= kBits || spare != 0) return std::unexpected(Error::kBadParameter);
        return bytes;
    }

  private:
    static constexpr std::uint32_t kMask = (1U << kBits) - 1;
    static constexpr std::uint8_t kNoLetter = 0xFF;
    std::array<char, 1U << kBits> letters_{};
    std::array<std::uint8_t, 256> values_{};
};

constexpr Radix<6> kBase64Url{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"};
constexpr Radix<6> kBase64{"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"};
constexpr Radix<5> kBase32Hex{"0123456789abcdefghijklmnopqrstuv"};
constexpr Radix<4> kHex{"0123456789abcdef"};

}  // namespace

std::string base64url_encode(Bytes bytes) {
    return kBase64Url.encode(bytes);
}
Result<ByteVector> base64url_decode(std::string_view text) {
    return kBase64Url.decode(text);
}
std::string base64_encode(Bytes bytes) {
    std::string text = kBase64.encode(bytes);
    text.append((4 - text.size() % 4) % 4, '=');
    return text;
}
Result<ByteVector> base64_decode(std::string_view text) {
    std::string letters(text);
    std::erase_if(letters, [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; });
    if (letters.size() % 4 != 0) return std::unexpected(Error::kBadParameter);
    for (int i = 0; i < 2 && letters.ends_with('='); ++i) letters.pop_back();
    return kBase64.decode(letters);
}
std::string base32hex_encode(Bytes bytes) {
    return kBase32Hex.encode(bytes);
}
Result<ByteVector> base32hex_decode(std::string_view text) {
    return kBase32Hex.decode(text);
}
std::string hex_encode(Bytes bytes) {
    return kHex.encode(bytes);
}
Result<ByteVector> hex_decode(std::string_view text) {
    return kHex.decode(text);
}

}  // namespace extencfs::crypto
