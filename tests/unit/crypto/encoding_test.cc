// SPDX-License-Identifier: Apache-2.0
#include "crypto/encoding.h"

#include <sodium.h>

#include <string>

#include "tests/unit/crypto/support.h"

namespace extencfs::crypto {

namespace {

struct Form {
    std::string (*encode)(Bytes);
    Result<ByteVector> (*decode)(std::string_view);
    std::string_view alphabet;
    unsigned bits;
};

const Form kForms[] = {
    {base64url_encode, base64url_decode,
     "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", 6},
    {base32hex_encode, base32hex_decode, "0123456789abcdefghijklmnopqrstuv", 5},
    {hex_encode, hex_decode, "0123456789abcdef", 4},
};

void check_refused(const Form& form, const std::string& text) {
    INFO("text '" << text << "', " << form.bits << " bits a letter");
    const auto decoded = form.decode(text);
    REQUIRE_FALSE(decoded.has_value());
    CHECK(decoded.error() == Error::kBadParameter);
}

}  // namespace

TEST_CASE("texts match RFC 4648 section 10", "[crypto][encoding]") {
    struct Vector {
        const char *plain, *base64, *base32hex, *hex;
    };
    const Vector vectors[] = {{"", "", "", ""},
                              {"f", "Zg", "co", "66"},
                              {"fo", "Zm8", "cpng", "666f"},
                              {"foo", "Zm9v", "cpnmu", "666f6f"},
                              {"foob", "Zm9vYg", "cpnmuog", "666f6f62"},
                              {"fooba", "Zm9vYmE", "cpnmuoj1", "666f6f6261"},
                              {"foobar", "Zm9vYmFy", "cpnmuoj1e8", "666f6f626172"},
                              {"\xff\xef\xbe", "_---", "vvnrs", "ffefbe"}};
    for (const Vector& v : vectors) {
        const Bytes plain = bytes_of(v.plain);
        CHECK(base64url_encode(plain) == v.base64);
        CHECK(base32hex_encode(plain) == v.base32hex);
        CHECK(hex_encode(plain) == v.hex);
    }
}

TEST_CASE("base64url equals libsodium's", "[crypto][encoding]") {
    for (std::size_t size = 0; size < 300; ++size) {
        const ByteVector bytes = random_bytes(size);
        const int variant = sodium_base64_VARIANT_URLSAFE_NO_PADDING;
        std::string theirs(sodium_base64_encoded_len(size, variant), '\0');
        REQUIRE(sodium_bin2base64(theirs.data(), theirs.size(), raw(Bytes(bytes)), size, variant));
        theirs.pop_back();  // its terminator
        CHECK(base64url_encode(bytes) == theirs);
    }
}

TEST_CASE("every value survives encoding and decoding", "[crypto][encoding]") {
    for (const Form& form : kForms) {
        for (std::size_t size = 0; size < 200; ++size) {
            const ByteVector bytes = random_bytes(size);
            const std::string text = form.encode(bytes);
            CHECK(text.size() == (size * 8 + form.bits - 1) / form.bits);
            CHECK(text.find_first_not_of(form.alphabet) == std::string::npos);
            const auto decoded = form.decode(text);
            REQUIRE(decoded.has_value());
            CHECK(*decoded == bytes);
        }
    }
}

TEST_CASE("a text that decodes is the only one for its value", "[crypto][encoding]") {
    // All texts of up to two letters, and all endings of a longer one: each either is what encoding
    // its value gives, or is refused.
    for (const Form& form : kForms) {
        std::vector<std::string> texts{""};
        for (const char a : form.alphabet) {
            texts.push_back({a});
            for (const char b : form.alphabet) {
                texts.push_back({a, b});
                for (const char* start : {"0", "00", "000", "0000", "00000", "000000"}) {
                    texts.push_back(std::string(start) + a + b);
                }
            }
        }
        std::size_t accepted = 0;
        for (const std::string& text : texts) {
            const auto decoded = form.decode(text);
            if (!decoded) continue;
            ++accepted;
            if (form.encode(*decoded) != text) {
                FAIL("'" << text << "' is a second text for a value");
            }
        }
        CHECK(accepted > 256);
    }
}

TEST_CASE("letters outside the alphabet are refused everywhere", "[crypto][encoding]") {
    for (const Form& form : kForms) {
        const std::string good = form.encode(random_bytes(15));
        REQUIRE(form.decode(good).has_value());
        for (int code = 0; code < 256; ++code) {
            const char letter = static_cast<char>(code);
            if (form.alphabet.find(letter) != std::string_view::npos) continue;
            for (const std::size_t at : {std::size_t{0}, good.size() / 2, good.size() - 1}) {
                std::string bad = good;
                bad[at] = letter;
                check_refused(form, bad);
            }
            check_refused(form, good + letter);
        }
    }
}

TEST_CASE("padding, the other case, spare bits and odd lengths are refused", "[crypto][encoding]") {
    const Form& base64 = kForms[0];
    const Form& base32 = kForms[1];
    const Form& hex = kForms[2];
    for (const char* text : {"Zg==", "Zm8=", "Zh", "Zm9", "Z", "Zm9vY", "Zm9v\n", "Zm+v", "Zm/v"}) {
        check_refused(base64, text);
    }
    for (const char* text : {"CO", "co======", "cp", "c", "cpn", "cpnmuo", "w0"}) {
        check_refused(base32, text);
    }
    for (const char* text : {"6", "66F", "6F", "0x66", "66 ", "666"}) check_refused(hex, text);
}

}  // namespace extencfs::crypto
