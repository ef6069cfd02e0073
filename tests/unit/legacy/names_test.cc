// SPDX-License-Identifier: Apache-2.0
// Source: the vectors of encfs/legacy/FORMAT.md.
#include "encfs/legacy/names.h"

#include "encfs/legacy/alphabet.h"
#include "tests/unit/legacy/keys.h"

namespace extencfs::legacy {

namespace {

struct Vector {
    const char* plain;
    NameCoding coding;
    std::uint64_t chain;
    const char* coded;
    std::uint64_t mac;
};

constexpr NameCoding coding(NameScheme scheme, int major, bool chained = true) {
    return {scheme, major, chained};
}

void check(const std::shared_ptr<const LegacyKey>& key, const Vector& vector) {
    INFO(vector.plain << " " << vector.coded);
    const NameCodec codec(key, vector.coding);
    const auto coded = codec.encode(vector.plain, vector.chain);
    REQUIRE(coded.has_value());
    CHECK(coded->text == vector.coded);
    CHECK(coded->chain == (vector.coding.chained ? vector.mac : 0));
    const auto plain = codec.decode(vector.coded, vector.chain);
    REQUIRE(plain.has_value());
    CHECK(plain->text == vector.plain);
    CHECK(plain->chain == coded->chain);
}

using enum NameScheme;

ErrorKind refusal(const NameCodec& codec, std::string_view entry, std::uint64_t chain = 0) {
    const auto plain = codec.decode(entry, chain);
    REQUIRE_FALSE(plain.has_value());
    return plain.error().kind;
}

}  // namespace

TEST_CASE("names of EncFS match the vectors") {
    for (const Vector& vector : {
             Vector{"test.txt", coding(kStream, 2, false), 0, "Mh0Pp5JYn76Sz1", 0},
             Vector{"test.txt", coding(kStream, 2), 0, "mCZvU9qkVOfpe0", 0x76ee3b7d5cb7a377},
             Vector{"test.txt", coding(kStream, 1), 9, "B7,,B3,,cGm4x1", 0xd308e51791abeab6},
             Vector{"test.txt", coding(kStream, 0, false), 0, "gJTIFCbUsxDKf,", 0},
             Vector{"test.txt", coding(kBlock, 4, false), 0, "WEPEybtTfat9ipNl1qoyxeD0", 0},
             Vector{"test.txt", coding(kBlock, 4), 0, "uxubdtFNp1j80hv2P,zL1Kjb",
                    0xc5b217e9721bdaef},
             Vector{"test.txt", coding(kBlock, 4), 9, "ueEeMN5Gz13NYczrmsJRyFdL",
                    0x2d322714121aa236},
             Vector{"test.txt", coding(kBlock, 2), 9, "ueE6QpVQIC9abp24AwnvlyfB",
                    0x2d322714121aa236},
             Vector{"test.txt", coding(kBlock32, 4), 9, "2VCSKMZOI27BFSRE27XFDPVO6DF5F",
                    0x2d322714121aa236},
             Vector{"0123456789abcdef", coding(kStream, 2), 0, "xUHxoyh02UOEO0nEjZv4WdPO",
                    0x6932f3871105b688},
             Vector{"0123456789abcdef", coding(kBlock, 4), 9,
                    "KtVJHxZ-O8WUhJw,JU,XPA7wwa6w-b356TCFbuQWB7gbb-", 0x13e2a6af71e692b5},
             Vector{"0123456789abcdef", coding(kBlock32, 4), 9,
                    "WSHMVJ5LGQGFCBWNF6AKBEQR3YEBP6GRQPQTFOAZHHROKHHRNSQ5ZTB", 0x13e2a6af71e692b5},
         }) {
        check(aes_key(), vector);
    }
    check(blowfish_key(),
          {"test.txt", coding(kBlock, 4), 9, "rvmAM7-2WFwir1lO5H50GJHj", 0xe2a588116ee3f379});
    check(blowfish_key(), {"0123456789abcdef", coding(kBlock, 4), 9,
                           "C9RnWjeIx0CTZ-b9sP2WUFXvJLQE0Jj58p9", 0x11a581965d1d03fc});
    check(key_of(LegacyCipher::kAes, 3, counted(32, 0x44, 0), counted(16, 0x55, 0)),
          {"phase0-name.txt", coding(kStream, 2), 0x0102030405060708, "jXPDn,UNesj7jaXJf3CI3Z6",
           0xc9c55c89023378c7});
    check(key_of(LegacyCipher::kAes, 3, counted(32, 0, 0x11), counted(16, 0, 0x22)),
          {"golden-name.txt", coding(kBlock, 4), 0x0102030405060708, "rjQCKbBNIDTsT3q,ljeJVmlQ",
           0xddc790c64921f3eb});
}

TEST_CASE("what is no name of the volume is told apart") {
    const NameCodec block(aes_key(), coding(kBlock, 4));
    const NameCodec stream(aes_key(), coding(kStream, 2));
    const NameCodec block32(aes_key(), coding(kBlock32, 4));
    const std::string name = block.encode("test.txt", 0)->text;
    CHECK(refusal(block, name, 1) == ErrorKind::kNotVolumeName);  // from another directory
    CHECK(refusal(block, name + " (conflicted copy)") == ErrorKind::kNotVolumeName);
    CHECK(refusal(block, name.substr(1)) == ErrorKind::kNotVolumeName);
    CHECK(refusal(block, "") == ErrorKind::kNotVolumeName);
    CHECK(refusal(block, ",,") == ErrorKind::kNotVolumeName);
    CHECK(refusal(block, ".encfs6.xml") == ErrorKind::kNotVolumeName);
    CHECK(refusal(stream, "Mh") == ErrorKind::kNotVolumeName);
    // Spare bits of the last digit, and the other case of base 32: the same bytes, another entry.
    const std::string coded = stream.encode("test.txt", 0)->text;
    CHECK(refusal(stream, coded.substr(0, coded.size() - 1) + "F") == ErrorKind::kNotVolumeName);
    std::string lower = block32.encode("test.txt", 0)->text;
    for (char& c : lower) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    CHECK(refusal(block32, lower) == ErrorKind::kNotVolumeName);
    for (const std::string_view bad :
         {std::string_view(""), std::string_view("a/b"), std::string_view("a\0b", 3)}) {
        CHECK(block.encode(bad, 0).error().kind == ErrorKind::kBadParameter);
    }
    CHECK(block.encode("..", 7)->text == "..");
    CHECK(block.encode("..", 7)->chain == 7);
    CHECK(block.decode(".", 7)->chain == 7);
}

TEST_CASE("names of all lengths come back") {
    for (const auto& codec :
         {NameCodec(aes_key(), coding(kBlock, 4)), NameCodec(blowfish_key(), coding(kStream, 2)),
          NameCodec(blowfish_key(), coding(kBlock32, 3)), NameCodec(aes_key(2), coding(kStream, 0)),
          NameCodec(aes_key(), coding(kNull, 1))}) {
        for (std::size_t length = 1; length <= 255; ++length) {
            const std::string plain(length, 'n');
            const auto coded = codec.encode(plain, 3);
            REQUIRE(coded.has_value());
            REQUIRE(codec.decode(coded->text, 3)->text == plain);
        }
    }
    // Of these names 255 bytes below hold as many.
    const NameCodec stream(aes_key(), coding(kStream, 2)), block(aes_key(), coding(kBlock, 4)),
        block32(aes_key(), coding(kBlock32, 4));
    const auto coded_size = [](const NameCodec& codec, std::size_t plain) {
        return codec.encode(std::string(plain, 'n'), 0)->text.size();
    };
    CHECK(coded_size(stream, 189) <= 255);
    CHECK(coded_size(stream, 190) > 255);
    CHECK(coded_size(block, 175) <= 255);
    CHECK(coded_size(block, 176) > 255);
    CHECK(coded_size(block32, 143) <= 255);
    CHECK(coded_size(block32, 144) > 255);
}

TEST_CASE("symlink targets are coded wherever the link is") {
    for (const auto& codec :
         {NameCodec(aes_key(), coding(kBlock, 4)), NameCodec(aes_key(), coding(kStream, 2, false)),
          NameCodec(aes_key(), coding(kNull, 1, false))}) {
        for (const char* target :
             {"a", "a/b/c", "../up/./x", "a//b/", "/abs/olute/path", "..", "./"}) {
            INFO(target);
            const auto lower = codec.encode_target(target);
            REQUIRE(lower.has_value());
            CHECK(codec.decode_target(*lower).value() == target);
            CHECK((lower->front() == '+') == (*target == '/'));
        }
        CHECK(codec.encode_target("").error().kind == ErrorKind::kBadParameter);
    }
    const NameCodec block(aes_key(), coding(kBlock, 4));
    // The first component is that of the root, the second follows from it.
    const auto first = block.encode("a", 0);
    CHECK(block.encode_target("a/b").value() ==
          first->text + "/" + block.encode("b", first->chain)->text);
    // Without a chain, and the whole of it as one name.
    CHECK(block.encode_target("/test.txt").value() == "+WEPEybtTfat9ipNl1qoyxeD0");
    CHECK(block.decode_target(block.encode_target("/").value()).value() == "/");
    CHECK(NameCodec(aes_key(), coding(kStream, 2)).encode_target("/").error().kind ==
          ErrorKind::kBadParameter);
    // Found by fuzzing: it would come back as "/x".
    CHECK(NameCodec(aes_key(), coding(kNull, 1)).encode_target("+x").error().kind ==
          ErrorKind::kBadParameter);
    CHECK(block.decode_target("nonsense").error().kind == ErrorKind::kNotVolumeName);
    CHECK(block.decode_target("").error().kind == ErrorKind::kNotVolumeName);
    CHECK(block.decode_target("+").error().kind == ErrorKind::kNotVolumeName);
}

TEST_CASE("digits of EncFS's names hold all bytes") {
    for (const auto alphabet : {Alphabet::kBase64, Alphabet::kBase32}) {
        for (std::size_t size = 0; size < 40; ++size) {
            const ByteVector bytes = counted(size, 0x80, 7);
            CHECK(from_digits(to_digits(bytes, alphabet), alphabet) == bytes);
        }
    }
    CHECK_FALSE(from_digits("a.b", Alphabet::kBase64));
    CHECK_FALSE(from_digits("A1", Alphabet::kBase32));
}

}  // namespace extencfs::legacy
