// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/recovery_key.h"

#include <array>
#include <cassert>
#include <optional>
#include <string_view>

#include "crypto/random.h"
#include "encfs/volume/crypto_errors.h"

namespace extencfs::volume {
namespace {

constexpr std::string_view kAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
static_assert(kAlphabet.size() == 32);
constexpr std::size_t kDigits = kRecoveryGroupSize - 1;  // of a group, without its check digit
constexpr unsigned kBits = 5;
constexpr std::size_t kAllDigits = kRecoveryGroups * kRecoveryGroupSize;
static_assert(kRecoveryGroups * kDigits * kBits == kRecoveryBytes * 8);

constexpr unsigned times_x(unsigned value) {
    return ((value << 1) ^ ((value & 16U) != 0 ? 0x25U : 0U)) & 31U;
}

// `digits`: kDigits of them. `group` from 1.
unsigned check_digit(const unsigned char* digits, std::size_t group) {
    auto sum = static_cast<unsigned>(group);
    for (std::size_t i = 0; i < kDigits; ++i) sum = times_x(sum) ^ digits[i];
    return times_x(sum);
}

std::optional<unsigned char> digit_of(char c) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    if (c == 'O') c = '0';
    if (c == 'I' || c == 'L') c = '1';
    const std::size_t at = kAlphabet.find(c);
    if (at == std::string_view::npos) return std::nullopt;
    return static_cast<unsigned char>(at);
}

// How many bytes of the separator `text` begins with; 0: it begins with none. Word processors make
// other hyphens, dashes (U+2010 to U+2015, U+2212) and spaces (U+00A0, U+202F) of those that were
// typed; editors put U+FEFF before everything.
std::size_t separator_size(std::string_view text) {
    const char c = text.front();
    if (c == '-' || c == '_' || c == '.' || c == ' ' || (c >= '\t' && c <= '\r')) return 1;
    if (text.starts_with("\xc2\xa0")) return 2;
    if (text.starts_with("\xe2\x88\x92") || text.starts_with("\xe2\x80\xaf") ||
        text.starts_with("\xef\xbb\xbf")) {
        return 3;
    }
    const bool dash =
        text.starts_with("\xe2\x80") && text.size() > 2 && text[2] >= '\x90' && text[2] <= '\x95';
    return dash ? 3 : 0;
}

// The digits of a text, in locked memory; one that is none is kNoDigit.
constexpr unsigned char kNoDigit = 0xff;
struct Typed {
    crypto::SecretBytes digits{kAllDigits};
    std::size_t count = 0;  // also of those that have no room
    // How many lie in each run without a separator.
    std::vector<std::size_t> runs;
    unsigned char* raw_digits() { return raw(digits.mutable_bytes()); }
};

Typed digits_of(std::string_view text) {
    Typed typed;
    bool in_run = false;
    while (!text.empty()) {
        const std::size_t separator = separator_size(text);
        if (separator != 0) {
            in_run = false;
            text.remove_prefix(separator);
            continue;
        }
        const char c = text.front();
        text.remove_prefix(1);
        if (!in_run) typed.runs.push_back(0);
        in_run = true;
        ++typed.runs.back();
        if (typed.count < kAllDigits) {
            typed.raw_digits()[typed.count] = digit_of(c).value_or(kNoDigit);
        }
        ++typed.count;
    }
    return typed;
}

bool group_is_right(Typed& typed, std::size_t group) {
    const unsigned char* digits = typed.raw_digits() + (group - 1) * kRecoveryGroupSize;
    for (std::size_t i = 0; i < kRecoveryGroupSize; ++i) {
        if (digits[i] == kNoDigit) return false;
    }
    return check_digit(digits, group) == digits[kDigits];
}

std::unexpected<Error> wrong_groups(const std::vector<std::size_t>& groups) {
    std::string text = groups.size() == 1 ? "group " : "groups ";
    for (std::size_t i = 0; i < groups.size(); ++i) {
        if (i != 0) text += i + 1 == groups.size() ? " and " : ", ";
        text += std::to_string(groups[i]);
    }
    text += groups.size() == 1 ? " is not as it was written" : " are not as they were written";
    return fail(ErrorKind::kBadParameter, text);
}

// Which group has too few or too many characters, where that can be told.
std::unexpected<Error> wrong_length(Typed& typed) {
    if (typed.runs.size() == kRecoveryGroups) {
        for (std::size_t i = 0; i < typed.runs.size(); ++i) {
            if (typed.runs[i] == kRecoveryGroupSize) continue;
            return fail(ErrorKind::kBadParameter, "group " + std::to_string(i + 1) + " has " +
                                                      std::to_string(typed.runs[i]) +
                                                      " characters in place of 5");
        }
    }
    // Up to the mistake the groups are right.
    const std::size_t whole = std::min(typed.count / kRecoveryGroupSize, kRecoveryGroups);
    for (std::size_t group = 1; group <= whole; ++group) {
        if (!group_is_right(typed, group)) return wrong_groups({group});
    }
    return fail(ErrorKind::kBadParameter,
                "it has " + std::to_string(typed.count) + " characters in place of 40");
}

}  // namespace

Result<crypto::SecretBytes> new_recovery_key() {
    crypto::SecretBytes key(kRecoveryBytes);
    if (auto drawn = crypto::fill_random(key.mutable_bytes()); !drawn) {
        return from_crypto(drawn.error(), "random");
    }
    return key;
}

crypto::SecretBytes recovery_text(Bytes key) {
    // Invariant: the caller's key has the size that all of them have.
    assert(key.size() == kRecoveryBytes);
    crypto::SecretBytes text(kRecoveryTextSize);
    unsigned char* out = raw(text.mutable_bytes());
    unsigned held = 0;
    unsigned held_bits = 0;
    std::size_t next = 0;
    crypto::SecretBytes group(kDigits);
    for (std::size_t number = 1; number <= kRecoveryGroups; ++number) {
        unsigned char* digits = raw(group.mutable_bytes());
        for (std::size_t i = 0; i < kDigits; ++i) {
            if (held_bits < kBits) {
                held = held << 8 | static_cast<unsigned>(key[next++]);
                held_bits += 8;
            }
            held_bits -= kBits;
            digits[i] = static_cast<unsigned char>(held >> held_bits & 31U);
            *out++ = static_cast<unsigned char>(kAlphabet[digits[i]]);
        }
        *out++ = static_cast<unsigned char>(kAlphabet[check_digit(digits, number)]);
        if (number != kRecoveryGroups) *out++ = '-';
    }
    return text;
}

Result<crypto::SecretBytes> parse_recovery_key(Bytes text) {
    Typed typed = digits_of(text_of(text));
    if (typed.count != kAllDigits) return wrong_length(typed);
    std::vector<std::size_t> wrong;
    for (std::size_t group = 1; group <= kRecoveryGroups; ++group) {
        if (!group_is_right(typed, group)) wrong.push_back(group);
    }
    if (!wrong.empty()) return wrong_groups(wrong);
    crypto::SecretBytes key(kRecoveryBytes);
    unsigned held = 0;
    unsigned held_bits = 0;
    std::size_t next = 0;
    for (std::size_t i = 0; i < kAllDigits; ++i) {
        if (i % kRecoveryGroupSize == kDigits) continue;
        held = (held << kBits | typed.raw_digits()[i]) & 0xffffU;
        held_bits += kBits;
        if (held_bits < 8) continue;
        held_bits -= 8;
        key.mutable_bytes()[next++] = static_cast<std::byte>(held >> held_bits & 0xffU);
    }
    return key;
}

}  // namespace extencfs::volume
