// SPDX-License-Identifier: Apache-2.0
// EncFS 2: its configuration and its sealed contents (FORMAT.md "V7").
#include "crypto/password_kdf.h"
#include "encfs/legacy/config_forms.h"
#include "encfs/legacy/protobuf.h"
#include "encfs/legacy/sealed_contents.h"
#include "tests/unit/legacy/keys.h"

namespace extencfs::legacy {

namespace {

// As `encfsctl new` makes them, but for the cost.
Config fresh() {
    Config config;
    config.format = ConfigFormat::kV7;
    config.cipher = {"ssl/aes", 3, 0, 0};
    config.naming = {"nameio/stream", 2, 0, 0};
    config.key_bits = 256;
    config.block_size = 4096;
    config.unique_iv = config.chained_names = config.external_iv = config.holes = true;
    config.salt = counted(20);
    config.v7.seal = Seal::kIv96;
    config.v7.memory_kib = crypto::kArgon2Least.memory_kib;
    config.v7.passes = 1;
    config.v7.lanes = 1;
    config.v7.reader_version = 2;
    config.wrapped_key = ByteVector(12 + 48 + 16);
    return config;
}

Result<Config> parse(Bytes bytes) {
    return parse_config(ConfigFormat::kV7, bytes);
}

ByteVector bytes_from(const std::string& text) {
    ByteVector out;
    for (std::size_t i = 0; i + 1 < text.size(); i += 2)
        out.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
    return out;
}

std::string refusal(Bytes bytes) {
    const auto parsed = parse(bytes);
    if (!parsed) return parsed.error().detail;
    const auto parameters = parameters_of(*parsed);
    return parameters ? "" : parameters.error().detail;
}

SealedCodec codec(Bytes key, Seal seal, std::uint32_t block_size = 4096, bool unique = true) {
    const auto legacy_key = key_of(LegacyCipher::kAes, 3, key, ByteVector(16, std::byte{0x22}));
    auto sealed = crypto::GcmSivKey::create(key);
    REQUIRE(sealed);
    ContentLayout layout;
    layout.block_size = block_size;
    layout.unique_iv = unique;
    layout.seal = seal;
    return {legacy_key, std::make_shared<crypto::GcmSivKey>(std::move(*sealed)), layout};
}

}  // namespace

TEST_CASE("a configuration of EncFS 2 comes back") {
    for (const bool sealed_as_mac : {false, true}) {
        Config config = fresh();
        if (sealed_as_mac) {
            config.v7.seal = Seal::kIv64;
            config.v7.seal_as_mac = true;
        }
        const auto back = parse(bytes_of(serialize_config(config)));
        REQUIRE(back);
        CHECK(back->key_bits == 256);
        CHECK(back->block_size == 4096);
        CHECK((back->unique_iv && back->chained_names && back->external_iv && back->holes));
        CHECK(back->naming.name == "nameio/stream");
        CHECK(back->salt == config.salt);
        CHECK(back->wrapped_key == config.wrapped_key);
        CHECK(back->v7.seal == config.v7.seal);
        CHECK(back->v7.memory_kib == config.v7.memory_kib);
        CHECK(back->v7.hash.size() == 32);
        CHECK(back->v7.hash == back->v7.hashes.front());
        const auto parameters = parameters_of(*back);
        REQUIRE(parameters);
        CHECK(parameters->v7);
        CHECK(parameters->path_in_header);
        CHECK(parameters->contents.overhead() == 16);
        CHECK(parameters->contents.header_size() == (sealed_as_mac ? 8 : 12));
        // Without the words at its begin, too.
        CHECK(parse(bytes_of(serialize_config(config)).subspan(7)));
    }
    Config old = fresh();
    old.v7.seal = Seal::kNone;
    old.cipher.name = "ssl/blowfish";
    old.naming = {"nameio/block", 4, 0, 0};
    old.mac_bytes = 8;
    old.block_size = 1024;
    old.key_bits = 160;
    const auto back = parse(bytes_of(serialize_config(old)));
    REQUIRE(back);
    CHECK(back->cipher.name == "ssl/blowfish");
    CHECK(back->mac_bytes == 8);
    const auto parameters = parameters_of(*back);
    REQUIRE(parameters);
    CHECK(parameters->names.scheme == NameScheme::kBlock);
    CHECK(parameters->contents.mac_size == 8);
}

TEST_CASE("the message of a configuration of EncFS 2 is what it is said to be") {
    // By hand: fields 2 (salt 00 .. 13), 4 (stream, chained), 5, 6, 7 (128 bits, 1024), 8 = 1.
    const auto bytes = bytes_from(
        "454e4346533700"
        "0a03"
        "010203"
        "1216"
        "0a14"
        "000102030405060708090a0b0c0d0e0f10111213"
        "2204"
        "08011001"
        "2a00"
        "3a08"
        "088001"
        "108008"
        "1801"
        "4001");
    const auto config = parse(bytes);
    REQUIRE(config);
    CHECK(config->wrapped_key == bytes_from("010203"));
    CHECK(config->salt == counted(20));
    CHECK(config->v7.memory_kib == 65536);
    CHECK(config->v7.passes == 3);
    CHECK(config->v7.lanes == 4);
    CHECK(config->key_bits == 128);
    CHECK(config->block_size == 1024);
    CHECK(config->v7.seal == Seal::kIv64);
    CHECK((config->chained_names && !config->external_iv && !config->holes));
    CHECK(config->v7.hash.empty());
    CHECK(config->v7.hashes.size() == 2);
}

TEST_CASE("a configuration of EncFS 2 is refused for what is not known in it") {
    const auto whole = [](const std::string& more,
                          const char* cipher =
                              "3a08088001108008"
                              "1801",
                          const char* names = "22020801") {
        return bytes_from(
            "0a03010203"
            "12160a14000102030405060708090a0b0c0d0e0f10111213" +
            std::string(names) + cipher + more);
    };
    CHECK(refusal(whole("")) == "");
    CHECK(refusal(whole("4803")) != "");  // field 9
    CHECK(refusal(whole("4003")) != "");  // a later reader
    CHECK(refusal(whole("4001"
                        "4001")) != "");  // twice
    CHECK(refusal(whole("3202"
                        "0102")) != "");        // a hash of two bytes
    CHECK(refusal(whole("0d01020304")) != "");  // a type that is not used
    CHECK(refusal(whole("", "")) != "");        // no cipher
    CHECK(refusal(whole("1a00")) != "");        // two
    CHECK(refusal(whole("",
                        "3a05"
                        "08c001"
                        "1010")) != "");  // 192 bits, and tiny blocks
    CHECK(refusal(whole("",
                        "3a08"
                        "088001"
                        "108008"
                        "2002")) != "");  // the width of IVs
    CHECK(refusal(whole("",
                        "1a0a"
                        "0801"
                        "108002"
                        "188008"
                        "2808")) != "");  // random bytes
    CHECK(refusal(whole("",
                        "1a0a"
                        "0803"
                        "108002"
                        "188008"
                        "2008")) != "");  // the cipher
    CHECK(refusal(whole("",
                        "3a08088001108008"
                        "1801",
                        "2200")) != "");  // no name coding
    CHECK(refusal(whole("",
                        "3a08088001108008"
                        "1801",
                        "220408011801")) != "");  // external only
    CHECK(refusal(whole("",
                        "3a08088001108008"
                        "1801",
                        "220408012001")) != "");  // unknown
    const std::string text = serialize_config(fresh());
    for (std::size_t size = 0; size < text.size(); ++size) {
        // Fields that are all there may be enough; no more than that is promised.
        (void)refusal(bytes_of(text).first(size));
    }
    CHECK(refusal({}) != "");
    CHECK(refusal(ByteVector(30, std::byte{0xff})) != "");
}

TEST_CASE("the key of EncFS 2 opens with its password, by several lanes") {
    Config config = fresh();
    config.v7.lanes = 4;
    const ByteVector secret = joined(counted(32), counted(16, 0x80));
    const auto wrapped = wrap_v7_key(config, counted(12, 0x40), bytes_of("test"), secret);
    REQUIRE(wrapped);
    config.wrapped_key = *wrapped;
    auto back = parse(bytes_of(serialize_config(config)));
    REQUIRE(back);
    const auto parameters = parameters_of(*back);
    REQUIRE(parameters);
    const auto open = [&](const Config& one, const char* password) {
        return unwrap_key(one, *parameters, bytes_of(password), KeyCheck::kChecked);
    };
    const auto opened = open(*back, "test");
    REQUIRE(opened);
    CHECK(hex(opened->bytes()) == hex(secret));
    const auto wrong = open(*back, "Test");
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().kind == ErrorKind::kWrongPassword);
    // Without a stored hash it is made; another stored one is not what the key was sealed with,
    // and then what is made is tried.
    Config without = *back;
    without.v7.hash.clear();
    CHECK(open(without, "test"));
    Config changed = *back;
    changed.v7.hash[3] ^= std::byte{1};
    changed.v7.hashes.clear();
    CHECK_FALSE(open(changed, "test"));
    Config short_key = *back;
    short_key.wrapped_key.pop_back();
    const auto damaged = open(short_key, "test");
    REQUIRE_FALSE(damaged);
    CHECK(damaged.error().kind == ErrorKind::kDamaged);
    for (const std::uint32_t memory : {1U, 0xffffffffU}) {
        Config dear = *back;
        dear.v7.memory_kib = memory;
        const auto refused = open(dear, "test");
        REQUIRE_FALSE(refused);
        CHECK(refused.error().kind == ErrorKind::kUnsupported);
    }
    CHECK_FALSE(wrap_key(*back, *parameters, bytes_of("x"), secret));
}

TEST_CASE("blocks and headers of EncFS 2 are as its vectors say") {
    struct Row {
        std::size_t key_size;
        const char* sealed;  // tag, ciphertext
    };
    for (const Row& row : {Row{32,
                               "b56459a4a675b3cbd9d77a3774af1910"
                               "581bbefb557f3fa29ae07d6c72d521cf"},
                           Row{16,
                               "65e513a57d02052e82ea589dcd13868a"
                               "1af8c75974ad000eb7679f77a8599e94"}}) {
        const auto narrow = codec(counted(row.key_size, 0, 0x11), Seal::kIv64);
        const FileIv iv{0x1020304050607080, 0};
        ByteVector block(32);
        REQUIRE(narrow.encode_block(7, iv, counted(16, 0, 0x33), block));
        CHECK(hex(block) == row.sealed);
        const auto state = narrow.decode_block(7, iv, block);
        REQUIRE(state);
        CHECK(*state == BlockState::kGood);
        CHECK(hex(Bytes(block).subspan(16)) == hex(counted(16, 0, 0x33)));
    }
    const auto wide = codec(ByteVector(32, std::byte{0x11}), Seal::kIv96);
    const FileIv iv{0xeeff010203040506, 0xaabbccdd};
    ByteVector block(48);
    REQUIRE(wide.encode_block(0x1122334455667788, iv, counted(32), block));
    CHECK(hex(block) ==
          "e1352d4ba5ed6ecba89fc2e9c09ca94e"
          "f2f6c9832b30bf3577f402c002280e23c60ec42f7adcd7bed07bcd18543701dd");
    const auto header = wide.encode_header(iv, 0x99aabbccddeeff00);
    REQUIRE(header);
    CHECK(hex(*header) == "2363b6bf1d01c61eb949b128");
    const auto back = wide.decode_header(*header, 0x99aabbccddeeff00);
    REQUIRE(back);
    CHECK(*back == iv);
}

TEST_CASE("blocks of EncFS 2 notice any change of place or bytes") {
    for (const Seal seal : {Seal::kIv64, Seal::kIv96}) {
        const auto sealed = codec(counted(32), seal, 1024);
        const FileIv iv{77, seal == Seal::kIv96 ? 5U : 0U};
        for (const std::size_t size : {1U, 100U, 1008U}) {
            ByteVector block(size + 16);
            REQUIRE(sealed.encode_block(3, iv, counted(size), block));
            const auto state_of = [&](std::uint64_t no, const FileIv& with, ByteVector bytes) {
                auto state = sealed.decode_block(no, with, bytes);
                REQUIRE(state);
                if (*state == BlockState::kDamaged) {
                    CHECK(
                        std::ranges::all_of(bytes, [](std::byte b) { return b == std::byte{0}; }));
                }
                return *state;
            };
            CHECK(state_of(3, iv, block) == BlockState::kGood);
            CHECK(state_of(4, iv, block) == BlockState::kDamaged);
            CHECK(state_of(3, {78, iv.high}, block) == BlockState::kDamaged);
            for (const std::size_t at : {std::size_t{0}, block.size() - 1}) {
                ByteVector other = block;
                other[at] ^= std::byte{4};
                CHECK(state_of(3, iv, other) == BlockState::kDamaged);
            }
            CHECK(state_of(3, iv, ByteVector(block.size())) == BlockState::kHole);
        }
        ByteVector too_short(16);
        CHECK_FALSE(sealed.decode_block(0, iv, too_short));
    }
    // No header: the IV is the path's.
    const auto bare = codec(counted(32), Seal::kIv64, 1024, false);
    CHECK(bare.decode_header({}, 9) == FileIv{9, 0});
}

TEST_CASE("names of EncFS 2 are as its vectors say, and hash a chain value always") {
    const auto key = key_of(LegacyCipher::kAes, 3, ByteVector(32, std::byte{0x44}),
                            ByteVector(16, std::byte{0x55}));
    const NameCodec stream(key, {NameScheme::kStream, 2, true, true});
    const auto name = stream.encode("phase0-name.txt", 0x0102030405060708);
    REQUIRE(name);
    CHECK(name->text == "jXPDn,UNesj7jaXJf3CI3Z6");
    CHECK(name->chain == 0xc9c55c89023378c7);
    const auto other = key_of(LegacyCipher::kAes, 3, counted(32, 0, 0x11), counted(16, 0, 0x22));
    const NameCodec block(other, {NameScheme::kBlock, 4, true, true});
    const auto golden = block.encode("golden-name.txt", 0x0102030405060708);
    REQUIRE(golden);
    CHECK(golden->text == "rjQCKbBNIDTsT3q,ljeJVmlQ");
    CHECK(golden->chain == 0xddc790c64921f3eb);
    // Not chained: as in a chained volume's root, everywhere.
    const NameCodec chained(aes_key(), {NameScheme::kStream, 2, true, true});
    const NameCodec bare(aes_key(), {NameScheme::kStream, 2, false, true});
    const auto in_root = bare.encode("test.txt", 0);
    REQUIRE(in_root);
    CHECK(in_root->text == "mCZvU9qkVOfpe0");
    CHECK(in_root->chain == 0);
    CHECK(bare.encode("test.txt", 77)->text == in_root->text);
    CHECK(bare.decode(in_root->text, 5)->text == "test.txt");
    CHECK(chained.encode("test.txt", 0)->text == in_root->text);
    // A target is one name, whatever is in it.
    for (const std::string target : {"/etc/passwd", "../a/b", "x"}) {
        const auto lower = chained.encode_target(target, 42);
        REQUIRE(lower);
        CHECK(lower->find('/') == std::string::npos);
        CHECK(chained.decode_target(*lower, 42) == target);
        CHECK_FALSE(chained.decode_target(*lower, 43));
    }
}

}  // namespace extencfs::legacy
