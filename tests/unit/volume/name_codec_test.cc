// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/name_codec.h"

#include <set>

#include "crypto/encoding.h"
#include "crypto/kdf.h"
#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

const DirId kDir = fixed<16>(1);
const DirId kOtherDir = fixed<16>(2);

NameCodec codec(NameEncoding encoding) {
    auto made = NameCodec::create(fixed<64>(3), encoding);
    REQUIRE(made);
    return std::move(*made);
}

std::string name_of_size(std::size_t size) {
    std::string name(size, 'a');
    for (std::size_t i = 0; i < size; ++i) name[i] = static_cast<char>('a' + i % 26);
    return name;
}

Result<std::string> decode_any(const NameCodec& names, const DirId& dir, const LowerName& lower) {
    if (NameCodec::is_long_entry(lower.entry)) {
        return names.decode_long(dir, lower.entry, lower.side_bytes);
    }
    return names.decode(dir, lower.entry);
}

}  // namespace

TEST_CASE("names of 1 to 255 bytes come back in both encodings", "[names]") {
    const auto encoding = GENERATE(NameEncoding::kBase64Url, NameEncoding::kBase32Hex);
    const std::size_t most_inline = encoding == NameEncoding::kBase64Url ? 160 : 128;
    const NameCodec names = codec(encoding);
    std::set<std::string> seen;
    for (std::size_t size = 1; size <= kMaxPlainName; ++size) {
        CAPTURE(size);
        const std::string plain = name_of_size(size);
        const auto lower = names.encode(kDir, plain);
        REQUIRE(lower);
        CHECK(lower->entry.size() <= kMaxLowerName);
        CHECK(seen.insert(lower->entry).second);
        CHECK(NameCodec::is_long_entry(lower->entry) == (size > most_inline));
        CHECK(lower->side_name.empty() == (size <= most_inline));
        if (size > most_inline) CHECK(NameCodec::side_name_of(lower->entry) == lower->side_name);
        CHECK(decode_any(names, kDir, *lower) == plain);
        CHECK(kind_of(decode_any(names, kOtherDir, *lower)) == "damaged");
        CHECK(names.encode(kDir, plain)->entry == lower->entry);
        CHECK(names.encode(kOtherDir, plain)->entry != lower->entry);
    }
}

TEST_CASE("base32 names are the same in any case-folding directory", "[names]") {
    const NameCodec names = codec(NameEncoding::kBase32Hex);
    for (std::size_t size = 1; size <= kMaxPlainName; ++size) {
        const auto lower = names.encode(kDir, name_of_size(size));
        REQUIRE(lower);
        for (const char c : lower->entry) {
            CHECK_FALSE((c >= 'A' && c <= 'Z'));
        }
    }
}

TEST_CASE("names that no directory entry has are refused", "[names]") {
    const NameCodec names = codec(NameEncoding::kBase64Url);
    CHECK(kind_of(names.encode(kDir, "")) == "bad-parameter");
    CHECK(kind_of(names.encode(kDir, ".")) == "bad-parameter");
    CHECK(kind_of(names.encode(kDir, "..")) == "bad-parameter");
    CHECK(kind_of(names.encode(kDir, "a/b")) == "bad-parameter");
    CHECK(kind_of(names.encode(kDir, std::string_view("a\0b", 3))) == "bad-parameter");
    CHECK(kind_of(names.encode(kDir, std::string(256, 'x'))) == "too-long");
    CHECK(names.encode(kDir, "..."));
    CHECK(names.encode(kDir, "extencfs.conf"));
}

TEST_CASE("T1: every changed character of a name is refused", "[names][threat]") {
    const auto encoding = GENERATE(NameEncoding::kBase64Url, NameEncoding::kBase32Hex);
    const NameCodec names = codec(encoding);
    const std::string good = names.encode(kDir, "a file's name")->entry;
    for (std::size_t i = 0; i < good.size(); ++i) {
        for (int c = 1; c < 256; ++c) {
            std::string bad = good;
            bad[i] = static_cast<char>(c);
            if (bad == good) continue;
            const std::string kind = kind_of(names.decode(kDir, bad));
            if (kind != "damaged" && kind != "not-volume-name") CHECK(kind == "refused");
        }
    }
    for (std::size_t size = 0; size < good.size(); ++size) {
        CHECK_FALSE(names.decode(kDir, good.substr(0, size)));
    }
    CHECK_FALSE(names.decode(kDir, good + "A"));
}

TEST_CASE("reserved and foreign entries are not names", "[names]") {
    const NameCodec names = codec(NameEncoding::kBase64Url);
    for (const char* entry :
         {kConfigName, kConfigBackupName, kDirFileName, kStateName, kLongSymlinkDir, "extencfs.t.x",
          "extencfs.n.x", "lost+found", "README", ".hidden", "", "AAAA"}) {
        CAPTURE(entry);
        CHECK(kind_of(names.decode(kDir, entry)) == "not-volume-name");
    }
}

TEST_CASE("a name that fits is not a long name", "[names][threat]") {
    const NameCodec names = codec(NameEncoding::kBase64Url);
    const auto sealed = crypto::base64url_decode(names.encode(kDir, "short")->entry);
    REQUIRE(sealed);
    ByteArray<32> hash;
    crypto::hash256(*sealed, hash);
    const std::string entry = kLongEntryPrefix + crypto::base64url_encode(hash);
    CHECK(kind_of(names.decode_long(kDir, entry, *sealed)) == "damaged");
}

TEST_CASE("T12: a long name's side file is bound to its entry and directory", "[names][threat]") {
    const auto encoding = GENERATE(NameEncoding::kBase64Url, NameEncoding::kBase32Hex);
    const NameCodec names = codec(encoding);
    const auto a = names.encode(kDir, name_of_size(200));
    const auto b = names.encode(kDir, name_of_size(201));
    REQUIRE((a && b));
    CHECK(kind_of(names.decode_long(kDir, a->entry, b->side_bytes)) == "damaged");
    CHECK(kind_of(names.decode_long(kDir, a->entry, {})) == "damaged");
    CHECK(kind_of(names.decode_long(kDir, b->side_name, b->side_bytes)) == "not-volume-name");
    CHECK(kind_of(names.decode_long(kDir, "extencfs.l.", a->side_bytes)) == "damaged");
    CHECK(kind_of(names.decode_long(kOtherDir, a->entry, a->side_bytes)) == "damaged");
    for (std::size_t bit = 0; bit < 8 * a->side_bytes.size(); ++bit) {
        ByteVector bad = a->side_bytes;
        flip(bad, bit);
        if (names.decode_long(kDir, a->entry, bad)) CHECK(bit == 0);
    }
    for (std::size_t size = 0; size < a->side_bytes.size(); ++size) {
        CHECK_FALSE(names.decode_long(kDir, a->entry, Bytes(a->side_bytes).first(size)));
    }
}

}  // namespace extencfs::volume
