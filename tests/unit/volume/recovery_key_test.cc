// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/recovery_key.h"

#include <algorithm>
#include <string_view>

#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

constexpr std::string_view kAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

std::string text_for(Bytes key) {
    return std::string(text_of(recovery_text(key).bytes()));
}

std::string outcome(const std::string& text, Bytes wanted) {
    const auto key = parse_recovery_key(bytes_of(text));
    if (!key) return key.error().detail;
    return std::ranges::equal(key->bytes(), wanted) ? "same" : "another";
}

}  // namespace

TEST_CASE("a recovery key comes back as it was", "[recovery]") {
    for (std::uint32_t seed = 0; seed < 200; ++seed) {
        const ByteVector key = pattern(kRecoveryBytes, seed);
        const std::string text = text_for(key);
        CHECK(text.size() == kRecoveryTextSize);
        CHECK(outcome(text, key) == "same");
    }
    const auto a = new_recovery_key();
    const auto b = new_recovery_key();
    REQUIRE(a);
    REQUIRE(b);
    CHECK_FALSE(std::ranges::equal(a->bytes(), b->bytes()));
}

// Worked by hand from FORMAT.md: all zeros leave a^5 * group as check digits, and x^5 = x^2 + 1.
TEST_CASE("the recovery key of zeros is that of FORMAT.md", "[recovery]") {
    CHECK(text_for(ByteVector(kRecoveryBytes)) ==
          "00005-0000A-0000F-0000M-0000H-0000Y-0000V-0000D");
}

TEST_CASE("people may write a recovery key as they like", "[recovery]") {
    const ByteVector key(kRecoveryBytes);
    CHECK(outcome("00005-0000A-0000F-0000M-0000H-0000Y-0000V-0000D\n", key) == "same");
    CHECK(outcome("ooooS-OOOOA", key) != "same");
    CHECK(outcome("oooo5 OOOOa 0000f 0000m\n0000h 0000y 0000v 0000d", key) == "same");
    CHECK(outcome("000050000A0000F0000M0000H0000Y0000V0000D", key) == "same");
    CHECK(outcome("  0-0-0-0-5-0000A.0000F_0000M 0000H\t0000Y\r\n0000V 0000D", key) == "same");
    // Word processors make dashes and other spaces of what was typed.
    for (const char* separator : {"\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2015",
                                  "\u2212", "\u00a0", "\u202f"}) {
        std::string text = text_for(key);
        for (std::size_t at; (at = text.find('-')) != std::string::npos;) {
            text.replace(at, 1, separator);
        }
        CHECK(outcome("\ufeff" + text, key) == "same");
    }
    CHECK(outcome("00005\u2016" + text_for(key).substr(6), key) != "same");
    CHECK(outcome(text_for(key) + "\xe2\x80", key) != "same");
    ByteVector ones(kRecoveryBytes);
    ones[0] = std::byte{0x08};  // the first digit is 1
    std::string text = text_for(ones);
    REQUIRE(text[0] == '1');
    for (const char c : {'I', 'i', 'L', 'l'}) {
        text[0] = c;
        CHECK(outcome(text, ones) == "same");
    }
}

TEST_CASE("every wrong digit and every exchange of two is noticed, and its group named",
          "[recovery]") {
    const ByteVector key = pattern(kRecoveryBytes, 7);
    const std::string good = text_for(key);
    for (std::size_t at = 0; at < good.size(); ++at) {
        if (good[at] == '-') continue;
        const std::size_t group = at / (kRecoveryGroupSize + 1) + 1;
        const std::string said = "group " + std::to_string(group) + " is not as it was written";
        for (const char c : kAlphabet) {
            if (c == good[at]) continue;
            std::string text = good;
            text[at] = c;
            CHECK(outcome(text, key) == said);
        }
        for (std::size_t with = at + 1; with < group * (kRecoveryGroupSize + 1) - 1; ++with) {
            if (good[with] == good[at]) continue;
            std::string text = good;
            std::swap(text[at], text[with]);
            CHECK(outcome(text, key) == said);
        }
        std::string text = good;
        text[at] = 'U';  // in no alphabet
        CHECK(outcome(text, key) == said);
    }
}

TEST_CASE("exchanged groups are noticed", "[recovery]") {
    const ByteVector key = pattern(kRecoveryBytes, 8);
    const std::string good = text_for(key);
    for (std::size_t a = 0; a < kRecoveryGroups; ++a) {
        for (std::size_t b = a + 1; b < kRecoveryGroups; ++b) {
            std::string text = good;
            std::swap_ranges(text.begin() + static_cast<std::ptrdiff_t>(a * 6),
                             text.begin() + static_cast<std::ptrdiff_t>(a * 6 + 5),
                             text.begin() + static_cast<std::ptrdiff_t>(b * 6));
            CHECK(outcome(text, key) == "groups " + std::to_string(a + 1) + " and " +
                                            std::to_string(b + 1) +
                                            " are not as they were written");
        }
    }
}

TEST_CASE("a digit too few or too many is told", "[recovery]") {
    const ByteVector key = pattern(kRecoveryBytes, 9);
    const std::string good = text_for(key);
    std::string text = good;
    text.erase(13, 1);
    CHECK(outcome(text, key) == "group 3 has 4 characters in place of 5");
    text = good;
    text.insert(13, "7");
    CHECK(outcome(text, key) == "group 3 has 6 characters in place of 5");
    CHECK(outcome(good.substr(0, 23), key) == "it has 20 characters in place of 40");
    CHECK(outcome("", key) == "it has 0 characters in place of 40");
    CHECK(outcome(good + good, key) == "it has 80 characters in place of 40");
    CHECK(outcome(std::string(4000, '-'), key) == "it has 0 characters in place of 40");
}

}  // namespace extencfs::volume
