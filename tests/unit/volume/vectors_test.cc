// SPDX-License-Identifier: Apache-2.0
// The program against tests/vectors/volume/format1.json, which another implementation of FORMAT.md
// made.
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "crypto/encoding.h"
#include "encfs/volume/recovery_key.h"
#include "encfs/volume/slots.h"
#include "encfs/volume/volume_keys.h"
#include "tests/unit/volume/bytes_for_tests.h"

namespace extencfs::volume {
namespace {

using nlohmann::json;

const json& vectors() {
    static const json loaded = [] {
        const auto here = std::filesystem::path(__FILE__).parent_path();
        std::ifstream file(here / "../../vectors/volume/format1.json");
        REQUIRE(file);
        return json::parse(file);
    }();
    return loaded;
}

ByteVector hex(const json& text) {
    auto bytes = crypto::hex_decode(text.get<std::string>());
    REQUIRE(bytes);
    return std::move(*bytes);
}
template <std::size_t N>
ByteArray<N> hex_array(const json& text) {
    const ByteVector bytes = hex(text);
    REQUIRE(bytes.size() == N);
    ByteArray<N> out{};
    std::copy(bytes.begin(), bytes.end(), out.begin());
    return out;
}
template <std::size_t N>
ByteArray<N> key(const char* name) {
    return hex_array<N>(vectors()["keys"][name]);
}

}  // namespace

TEST_CASE("vectors: headers", "[vectors]") {
    for (const json& row : vectors()["headers"]) {
        CAPTURE(row["fields"].dump(), row["expect"]);
        const auto bytes = hex_array<kFileHeaderSize>(row["bytes"]);
        const auto header = decode_header(bytes, key<32>("header"));
        CHECK(kind_of(header) == row["expect"].get<std::string>());
        if (!header) continue;
        CHECK(header->size == row["fields"].value("size", std::uint64_t{0}));
        CHECK(header->epoch == row["fields"].value("epoch", 0u));
        ByteArray<kFileHeaderSize> again;
        encode_header(*header, key<32>("header"), again);
        CHECK(again == bytes);
    }
}

TEST_CASE("vectors: contents", "[vectors]") {
    for (const json& row : vectors()["contents"]) {
        CAPTURE(row["cipher"], row["first"], row["count"]);
        const auto codec = ContentCodec::make(
            key<32>("content"), static_cast<crypto::AeadKind>(row["cipher"].get<int>()),
            hex_array<16>(row["file_id"]), row["cut"].get<std::uint32_t>());
        const ByteVector plain = hex(row["plain"]);
        const auto count = row["count"].get<std::uint64_t>();
        std::vector<OpenedFragment> states(count);
        ByteVector out(plain.size());
        REQUIRE(
            codec.open(row["first"], count, hex(row["lower"]), row["epoch"], false, out, states));
        CHECK(out == plain);
        for (const OpenedFragment& state : states) CHECK(state.state == FragmentState::kGood);
        CHECK(states.back().used == row["used_of_last"].get<int>());
    }
}

TEST_CASE("vectors: names", "[vectors]") {
    for (const json& row : vectors()["names"]) {
        const bool base64 = row["encoding"] == "base64url";
        const auto names = NameCodec::create(
            key<64>("names"), base64 ? NameEncoding::kBase64Url : NameEncoding::kBase32Hex);
        REQUIRE(names);
        const DirId dir = hex_array<16>(row["dir_id"]);
        const std::string plain = row["plain"];
        CAPTURE(plain.size(), base64);
        const auto lower = names->encode(dir, plain);
        REQUIRE(lower);
        CHECK(lower->entry == row["entry"].get<std::string>());
        CHECK(lower->side_name == row["side_name"].get<std::string>());
        CHECK(lower->side_bytes == hex(row["side_bytes"]));
    }
}

TEST_CASE("vectors: directory", "[vectors]") {
    const json& row = vectors()["directory"];
    const auto bytes = hex_array<kDirFileSize>(row["bytes"]);
    const auto dir = decode_dir_file(bytes, key<32>("dir_mac"));
    REQUIRE(dir);
    CHECK(dir->id == hex_array<16>(row["id"]));
    CHECK(dir->here == hex_array<16>(row["here"]));
    CHECK(dir->key_generation == 1);
    CHECK(dir->next_generation == 2);
    CHECK(bind_place(key<32>("dir_bind"), hex_array<16>(row["parent"]),
                     row["entry"].get<std::string>()) == dir->here);
    ByteArray<kDirFileSize> again;
    encode_dir_file(*dir, key<32>("dir_mac"), again);
    CHECK(again == bytes);
}

TEST_CASE("vectors: symlinks and xattrs", "[vectors]") {
    const SymlinkCodec links(key<32>("symlink"));
    const json& small = vectors()["symlinks"]["inline"];
    CHECK(links.open_inline(small["lower"].get<std::string>()) ==
          small["plain"].get<std::string>());
    const json& big = vectors()["symlinks"]["long"];
    const auto ref = SymlinkCodec::parse_ref(big["lower"].get<std::string>());
    REQUIRE(ref);
    CHECK(links.open_long(*ref, hex(big["file"])) == big["plain"].get<std::string>());

    const auto xattrs = XattrCodec::create(key<64>("xattr_name"), key<32>("xattr"));
    REQUIRE(xattrs);
    const json& row = vectors()["xattr"];
    const auto owner = hex_array<16>(row["owner"]);
    const std::string name = row["plain"];
    CHECK(xattrs->encode_name(owner, name) == row["lower"].get<std::string>());
    CHECK(xattrs->open_value(owner, name, hex(row["sealed"])) == hex(row["value"]));
}

TEST_CASE("vectors: slots of all kinds", "[vectors]") {
    const json& row = vectors()["keys_config"];
    const auto config = parse_config(row["text"].get<std::string>());
    REQUIRE(config);
    const auto opens = [&](SlotKind kind, Bytes secret) {
        const auto slot = open_slot(*config, {kind, secret});
        REQUIRE(slot);
        CHECK(std::ranges::equal(slot->volume_key.bytes(), hex_array<32>(row["volume_key"])));
        return slot->slot;
    };
    CHECK(opens(SlotKind::kPassword, bytes_of(row["password"].get_ref<const std::string&>())) == 1);
    const auto recovery =
        parse_recovery_key(bytes_of(row["recovery"].get_ref<const std::string&>()));
    REQUIRE(recovery);
    CHECK(opens(SlotKind::kRecovery, recovery->bytes()) == 2);
    const auto keyfile = keyfile_secret(hex(row["keyfile"]));
    REQUIRE(keyfile);
    CHECK(opens(SlotKind::kKeyfile, keyfile->bytes()) == 3);
    const json& tokens = row["tokens"];
    CHECK(opens(SlotKind::kSystemd, hex(tokens["systemd"])) == 4);
    CHECK(opens(SlotKind::kTpm2, hex(tokens["tpm2"])) == 5);
    CHECK(opens(SlotKind::kFido2, hex(tokens["fido2"])) == 6);
    CHECK(find_slot(*config, 7)->kind == SlotKind::kForeign);
    // As it was written, to the last byte: what it authenticates is the same.
    const auto volume_key = hex_array<32>(row["volume_key"]);
    CHECK(json::parse(serialize_config(*config, volume_key)) ==
          json::parse(row["text"].get<std::string>()));
}

TEST_CASE("vectors: configuration", "[vectors]") {
    const json& row = vectors()["config"];
    const auto config = parse_config(row["text"].get<std::string>());
    REQUIRE(config);
    const auto volume_key =
        unlock(*config, bytes_of(row["password"].get_ref<const std::string&>()));
    REQUIRE(volume_key);
    CHECK(std::ranges::equal(volume_key->bytes(), hex_array<32>(row["volume_key"])));
    const auto keys = VolumeKeys::derive(*config, volume_key->bytes());
    REQUIRE(keys);
    const GenerationKeys& current = (*keys)->current();
    CHECK(std::ranges::equal(current.content_root.bytes(), key<32>("content")));
    CHECK(std::ranges::equal(current.header.bytes(), key<32>("header")));
    CHECK(std::ranges::equal(current.dir_mac.bytes(), key<32>("dir_mac")));
    CHECK(std::ranges::equal(current.dir_bind.bytes(), key<32>("dir_bind")));
    const json& name = vectors()["names"][0];
    CHECK(current.names.encode(hex_array<16>(name["dir_id"]), name["plain"].get<std::string>())
              ->entry == name["entry"].get<std::string>());
    const json& xattr = vectors()["xattr"];
    CHECK(current.xattrs.open_value(hex_array<16>(xattr["owner"]),
                                    xattr["plain"].get<std::string>(),
                                    hex(xattr["sealed"])) == hex(xattr["value"]));
    CHECK(
        current.symlinks.open_inline(vectors()["symlinks"]["inline"]["lower"].get<std::string>()));
}

}  // namespace extencfs::volume
