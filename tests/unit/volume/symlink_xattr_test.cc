// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/symlink_codec.h"
#include "encfs/volume/xattr_codec.h"
#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

const SymlinkCodec& links() {
    static const SymlinkCodec codec(fixed<32>(1));
    return codec;
}

std::string target_of_size(std::size_t size) {
    std::string text(size, 't');
    for (std::size_t i = 0; i < size; i += 7) text[i] = '/';
    return text;
}

XattrCodec xattrs() {
    auto made = XattrCodec::create(fixed<64>(1), fixed<32>(2));
    REQUIRE(made);
    return std::move(*made);
}

}  // namespace

TEST_CASE("symlink targets of 1 to 4,095 bytes come back", "[symlink]") {
    for (std::size_t size = 1; size <= kMaxTarget; ++size) {
        const std::string target = target_of_size(size);
        CAPTURE(size);
        if (size <= kMaxInlineTarget) {
            const auto lower = links().seal_inline(target);
            REQUIRE(lower);
            if (lower->size() > kMaxTarget) CHECK(lower->size() <= kMaxTarget);
            if (SymlinkCodec::inline_size(lower->size()) != size) {
                CHECK(SymlinkCodec::inline_size(lower->size()) == size);
            }
            if (links().open_inline(*lower) != target) CHECK(links().open_inline(*lower) == target);
            continue;
        }
        const auto sealed = links().seal_long(target);
        REQUIRE(sealed);
        const auto ref = SymlinkCodec::parse_ref(sealed->lower_target);
        REQUIRE(ref);
        if (ref->size != size || ref->id != sealed->ref.id) CHECK(ref->size == size);
        if (SymlinkCodec::inline_size(sealed->lower_target.size()) != 0) CHECK(false);
        if (links().open_long(*ref, sealed->file_bytes) != target) CHECK(false);
    }
}

TEST_CASE("targets outside the limits are refused", "[symlink]") {
    CHECK(kind_of(links().seal_inline("")) == "bad-parameter");
    CHECK(kind_of(links().seal_inline(std::string_view("a\0b", 3))) == "bad-parameter");
    CHECK(kind_of(links().seal_inline(target_of_size(kMaxInlineTarget + 1))) == "too-long");
    CHECK(kind_of(links().seal_long(target_of_size(kMaxTarget + 1))) == "too-long");
    CHECK(kind_of(links().seal_long(target_of_size(kMaxInlineTarget))) == "bad-parameter");
}

TEST_CASE("T1: a changed symlink is damage", "[symlink][threat]") {
    const std::string good = *links().seal_inline("../some/target");
    for (std::size_t i = 0; i < good.size(); ++i) {
        for (const char c : {'A', 'b', '-', '_', '9', '.', '/'}) {
            std::string bad = good;
            bad[i] = c;
            if (bad != good) CHECK(kind_of(links().open_inline(bad)) == "damaged");
        }
        CHECK(kind_of(links().open_inline(good.substr(0, i))) == "damaged");
    }
    CHECK(kind_of(SymlinkCodec(fixed<32>(9)).open_inline(good)) == "damaged");
}

TEST_CASE("T14: a long target belongs to its id and length", "[symlink][threat]") {
    const auto a = links().seal_long(target_of_size(3500));
    const auto b = links().seal_long(target_of_size(3500));
    REQUIRE((a && b));
    CHECK(kind_of(links().open_long(a->ref, b->file_bytes)) == "damaged");
    LongTargetRef wrong = a->ref;
    wrong.size = 3501;
    CHECK(kind_of(links().open_long(wrong, a->file_bytes)) == "damaged");
    wrong.size = ~std::size_t{0};
    CHECK(kind_of(links().open_long(wrong, a->file_bytes)) == "damaged");
    for (std::size_t bit = 0; bit < 8 * a->file_bytes.size(); bit += 37) {
        ByteVector bad = a->file_bytes;
        flip(bad, bit);
        CHECK(kind_of(links().open_long(a->ref, bad)) == "damaged");
    }
    for (const std::string& bad :
         {a->lower_target + "0", a->lower_target.substr(1), std::string("extencfs.s."),
          "extencfs.s." + a->ref.id + ".3031", "extencfs.s." + a->ref.id + ".4096",
          "extencfs.s." + a->ref.id + ".+999", "extencfs.s." + a->ref.id + ".0999",
          "extencfs.s." + a->ref.id + "x3500",
          std::string("extencfs.s.../../../../../../etc/pas.3500")}) {
        CAPTURE(bad);
        CHECK(kind_of(SymlinkCodec::parse_ref(bad)) == "not-volume-name");
    }
}

TEST_CASE("xattr names of 1 to 160 bytes come back", "[xattr]") {
    const XattrCodec codec = xattrs();
    const auto owner = fixed<16>(5);
    for (std::size_t size = 1; size <= 160; ++size) {
        const std::string name(size, 'x');
        const auto lower = codec.encode_name(owner, name);
        REQUIRE(lower);
        CHECK(lower->size() <= 255);
        CHECK(codec.decode_name(owner, *lower) == name);
        CHECK(kind_of(codec.decode_name(fixed<16>(6), *lower)) == "damaged");
    }
    CHECK(kind_of(codec.encode_name(owner, std::string(161, 'x'))) == "too-long");
    CHECK(kind_of(codec.encode_name(owner, "")) == "bad-parameter");
    CHECK(kind_of(codec.decode_name(owner, "user.other")) == "not-volume-name");
    CHECK(kind_of(codec.decode_name(owner, "user.extencfs.")) == "not-volume-name");
    CHECK(kind_of(codec.decode_name(owner, "user.extencfs.!")) == "not-volume-name");
    CHECK(kind_of(codec.decode_name(owner, "user.extencfs." + std::string(300, 'A'))) ==
          "not-volume-name");
}

TEST_CASE("T13: an xattr's value belongs to its owner and name", "[xattr][threat]") {
    const XattrCodec codec = xattrs();
    const auto owner = fixed<16>(5);
    for (const std::size_t size : {0u, 1u, 100u, 65'536u}) {
        const ByteVector value = pattern(size, 1);
        const auto sealed = codec.seal_value(owner, "user.a", value);
        REQUIRE(sealed);
        CHECK(sealed->size() == size + XattrCodec::kValueOverhead);
        CHECK(codec.open_value(owner, "user.a", *sealed) == value);
        CHECK(kind_of(codec.open_value(owner, "user.b", *sealed)) == "damaged");
        CHECK(kind_of(codec.open_value(fixed<16>(6), "user.a", *sealed)) == "damaged");
        for (std::size_t bit = 0; bit < 8 * sealed->size(); bit += 1 + size) {
            ByteVector bad = *sealed;
            flip(bad, bit);
            CHECK(kind_of(codec.open_value(owner, "user.a", bad)) == "damaged");
        }
    }
    const auto sealed = codec.seal_value(owner, "user.a", pattern(20, 1));
    for (std::size_t size = 0; size < sealed->size(); ++size) {
        CHECK(kind_of(codec.open_value(owner, "user.a", Bytes(*sealed).first(size))) == "damaged");
    }
}

}  // namespace extencfs::volume
