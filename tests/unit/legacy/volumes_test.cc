// SPDX-License-Identifier: Apache-2.0
// Volumes that EncFS 1.9.5 made (tests/vectors/legacy/make): what is below must give what it
// showed, and what is written must be what it would read.
#include <sodium.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "encfs/legacy/config.h"
#include "encfs/legacy/contents.h"
#include "encfs/legacy/names.h"
#include "tests/unit/legacy/keys.h"

namespace extencfs::legacy {

namespace {

using Json = nlohmann::json;

ByteVector base64(const Json& text) {
    auto bytes = crypto::base64_decode(text.get<std::string>());
    REQUIRE(bytes.has_value());
    return std::move(*bytes);
}

std::string sha256(Bytes bytes) {
    ByteArray<crypto_hash_sha256_BYTES> digest;
    crypto_hash_sha256(raw(MutBytes(digest)), raw(bytes), bytes.size());
    return hex(digest);
}

struct Opened {
    Config config;
    Parameters parameters;
    std::shared_ptr<const LegacyKey> key;
};

Opened open(const Json& volume) {
    const ByteVector text = base64(volume["lower"][".encfs6.xml"]["bytes"]);
    const auto config = parse_config(ConfigFormat::kV6, text);
    REQUIRE(config.has_value());
    const auto parameters = parameters_of(*config);
    REQUIRE(parameters.has_value());
    const auto password = volume["password"].get<std::string>();
    const auto secret = unwrap_key(*config, *parameters, bytes_of(password), KeyCheck::kChecked);
    REQUIRE(secret.has_value());
    CHECK(unwrap_key(*config, *parameters, bytes_of("another"), KeyCheck::kChecked).error().kind ==
          ErrorKind::kWrongPassword);
    CHECK(unwrap_key(*config, *parameters, bytes_of("another"), KeyCheck::kAnyKey).has_value());
    auto key = LegacyKey::create(parameters->cipher, secret->bytes());
    REQUIRE(key.has_value());
    return {*config, *parameters, std::make_shared<const LegacyKey>(std::move(*key))};
}

ByteVector decoded(const ContentCodec& codec, Bytes lower, std::uint64_t path_iv) {
    const ContentLayout& layout = codec.layout();
    const auto size = plain_size(layout, lower.size());
    REQUIRE(size.has_value());
    ByteVector plain;
    if (lower.empty()) return plain;
    CHECK(lower_size(layout, *size) == lower.size());
    std::uint64_t file_iv = 0;
    if (layout.header_size() > 0) {
        const auto header = codec.decode_header(lower.first<kFileHeaderSize>(), path_iv);
        REQUIRE(header.has_value());
        file_iv = *header;
        CHECK(hex(codec.encode_header(file_iv, path_iv).value()) ==
              hex(lower.first<kFileHeaderSize>()));
    }
    for (std::uint64_t no = 0; layout.block_offset(no) < lower.size(); ++no) {
        Bytes block = lower.subspan(layout.block_offset(no));
        block = block.first(std::min<std::size_t>(block.size(), layout.block_size));
        ByteVector opened(block.begin(), block.end());
        const auto state = codec.decode_block(no, file_iv, opened);
        const Bytes out = Bytes(opened).subspan(layout.overhead());
        REQUIRE(state.has_value());
        REQUIRE(*state != BlockState::kDamaged);
        plain.insert(plain.end(), out.begin(), out.end());
        if (*state == BlockState::kHole) continue;
        // There and back, with other random bytes.
        ByteVector again(block.size());
        REQUIRE(codec.encode_block(no, file_iv, out, again));
        if (layout.random_size == 0) CHECK(hex(again) == hex(block));
        REQUIRE(codec.decode_block(no, file_iv, again) == BlockState::kGood);
        CHECK(std::ranges::equal(Bytes(again).subspan(layout.overhead()), out));
    }
    CHECK(plain.size() == *size);
    return plain;
}

void check_entry(const Opened& volume, const NameCodec& names, const Json& lower, const Json& shown,
                 std::uint64_t chain) {
    if (shown.contains("target")) {
        const auto target = shown["target"].get<std::string>();
        CHECK(names.decode_target(lower["target"].get<std::string>()).value() == target);
        CHECK(names.encode_target(target).value() == lower["target"].get<std::string>());
    } else if (shown.contains("size")) {
        const ContentCodec codec(volume.key, volume.parameters.contents);
        const ByteVector plain =
            decoded(codec, base64(lower["bytes"]), volume.parameters.path_in_header ? chain : 0);
        CHECK(plain.size() == shown["size"].get<std::size_t>());
        CHECK(sha256(plain) == shown["sha256"].get<std::string>());
    } else {
        CHECK(lower.contains("directory"));
    }
}

void check_volume(const Json& volume) {
    const Opened opened = open(volume);
    const NameCodec names(opened.key, opened.parameters.names);
    std::map<std::string, ChainedName> directories{{"", {"", 0}}};  // by lower path
    std::size_t found = 0;
    // Directories come before what is in them: by path.
    for (const auto& [path, lower] : volume["lower"].items()) {
        if (path == ".encfs6.xml") continue;
        INFO(path);
        const std::size_t slash = path.rfind('/');
        const std::string above = slash == std::string::npos ? "" : path.substr(0, slash);
        const std::string entry = slash == std::string::npos ? path : path.substr(slash + 1);
        const ChainedName& parent = directories.at(above);
        const auto plain = names.decode(entry, parent.chain);
        REQUIRE(plain.has_value());
        CHECK(names.encode(plain->text, parent.chain)->text == entry);
        const std::string name =
            parent.text.empty() ? plain->text : parent.text + "/" + plain->text;
        REQUIRE(volume["shown"].contains(name));
        check_entry(opened, names, lower, volume["shown"][name], plain->chain);
        directories[path] = {name, plain->chain};
        ++found;
    }
    CHECK(found == volume["shown"].size());
}

}  // namespace

TEST_CASE("volumes of EncFS 1.9.5 show what it showed") {
    const auto here = std::filesystem::path(__FILE__).parent_path();
    std::size_t volumes = 0;
    for (const auto& file : std::filesystem::directory_iterator(here / "../../vectors/legacy")) {
        if (file.path().extension() != ".json") continue;
        INFO(file.path());
        std::ifstream stream(file.path());
        check_volume(Json::parse(stream));
        ++volumes;
    }
    CHECK(volumes == 8);
}

}  // namespace extencfs::legacy
