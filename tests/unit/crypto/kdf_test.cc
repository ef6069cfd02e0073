// SPDX-License-Identifier: Apache-2.0
#include "crypto/kdf.h"

#include <set>
#include <string>

#include "tests/unit/crypto/support.h"

namespace extencfs::crypto {

namespace {

ByteArray<32> counting_key() {
    ByteArray<32> key{};
    for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i);
    return key;
}

constexpr KeyPurpose kAllPurposes[] = {
    KeyPurpose::kConfigMac,     KeyPurpose::kGenerationWrap, KeyPurpose::kContent,
    KeyPurpose::kHeader,        KeyPurpose::kNames,          KeyPurpose::kDirectoryMac,
    KeyPurpose::kDirectoryBind, KeyPurpose::kXattr,          KeyPurpose::kXattrName,
    KeyPurpose::kSymlink,       KeyPurpose::kFile,           KeyPurpose::kBlockGroup,
    KeyPurpose::kTokenWrap};

}  // namespace

TEST_CASE("labels are part of the format and never change", "[crypto][kdf]") {
    const char* const texts[] = {"x1.config-mac", "x1.gen-wrap", "x1.content",  "x1.header",
                                 "x1.names",      "x1.dir-mac",  "x1.dir-bind", "x1.xattr",
                                 "x1.xattr-name", "x1.symlink",  "x1.file",     "x1.group",
                                 "x1.token"};
    REQUIRE(std::size(texts) == std::size(kAllPurposes));
    for (std::size_t i = 0; i < std::size(texts); ++i) {
        const auto label = purpose_label(kAllPurposes[i]);
        std::string expected = texts[i];
        expected.resize(16, '\0');
        CHECK(text_of(label) == expected);
    }
}

TEST_CASE("keys and MACs match another implementation of BLAKE2b", "[crypto][kdf]") {
    // Computed with Python's hashlib.blake2b(key=bytes(range(32)), person=label, ...).
    struct Vector {
        KeyPurpose purpose;
        std::string context;
        const char* key;
    };
    const std::string zeros(300, '\0');
    const Vector vectors[] = {
        {KeyPurpose::kConfigMac, "",
         "f398ec66fa22b07bb81bc5e988b68dfa32afc61328f938c5c5fbfb42b2f04998"},
        {KeyPurpose::kConfigMac, "context",
         "50430114838146fd0a83550a167eb21f1c6ab3d7a7d26b8d376741af142a620f"},
        {KeyPurpose::kConfigMac, zeros,
         "a3a64d509cb69defe2ce0438b28c3e59e200fd78425fb84e43ede4b17d9547ac"},
        {KeyPurpose::kContent, "",
         "fc6e7caf5cf1400bdb7b1d351f6ff90dd65167bd94a40e6a7dc81fd592edba4b"},
        {KeyPurpose::kContent, "context",
         "2b4a17bb115df2a7db7ed3ec8eaae8ab70f561d1d3292f5b344b53014658f622"},
        {KeyPurpose::kContent, zeros,
         "056b520831ecec5ce81418f96fefa16aa1a33ba8f3c7728d871416d41fe9fb0f"},
        {KeyPurpose::kFile, "", "9ce0308837d98df81b69b1028a13e0be251e62ac2131cafe9c9358868fce3ca7"},
        {KeyPurpose::kFile, "context",
         "6beb9c509cb58c58b153e9ffb8e7501351757acd9b97624b400fc93f6f00e750"},
        {KeyPurpose::kFile, zeros,
         "c10198d1a2da8fd5598c389fc82a35839c027f38ba39322107c5e9abd1eb71ec"},
        {KeyPurpose::kBlockGroup, "",
         "e91e67e7a4a6a35ebd9459359e2066232ea5a136001d0a385260364294507cb2"},
        {KeyPurpose::kBlockGroup, "context",
         "593cfe05165f43d3ac75e80184498ddb3a88cd6f5c1eee652e61ef2921f2d53a"},
        {KeyPurpose::kBlockGroup, zeros,
         "6051e82926e4dc9efdf621c4b17eb4990fda2422ea48622cb5b324d4a39e0330"},
    };
    const auto parent = counting_key();
    for (const Vector& v : vectors) {
        ByteArray<32> key{};
        derive_key(parent, v.purpose, bytes_of(v.context), key);
        CHECK(hex_encode(key) == v.key);
    }
    ByteArray<64> long_key{};
    derive_key(parent, KeyPurpose::kXattrName, {}, long_key);
    CHECK(hex_encode(long_key) ==
          "ba2aba10416d01f5f8522f1c2573c8b592cc2ed5acd4bd0b05a46c2a70179fef757416bc1c873e9cc15e2ed1"
          "499fef01b40f1a592535b90f3bd1bf44625c9a87");
    ByteArray<16> short_mac{};
    mac128(parent, {}, short_mac);
    CHECK(hex_encode(short_mac) == "3daf97bce7888fd59773c66bf647459c");
    ByteArray<32> mac{};
    mac256(parent, bytes_of(zeros), mac);
    CHECK(hex_encode(mac) == "c275d44e647922b62040ccff75412ddc6159afe6e8a9d4696d98f40e8675cbd7");
    hash256({}, mac);
    CHECK(hex_encode(mac) == "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
}

TEST_CASE("each purpose, parent and context gives another key", "[crypto][kdf]") {
    std::set<std::string> keys;
    std::size_t derived = 0;
    for (const KeyPurpose purpose : kAllPurposes) {
        for (const char* context : {"", "a", "b", "ab"}) {
            for (int parent_bit = 0; parent_bit < 2; ++parent_bit) {
                ByteArray<32> parent = counting_key();
                parent[31] ^= static_cast<std::byte>(parent_bit);
                ByteArray<32> short_key{};
                ByteArray<64> long_key{};
                derive_key(parent, purpose, bytes_of(context), short_key);
                derive_key(parent, purpose, bytes_of(context), long_key);
                keys.insert(hex_encode(short_key));
                // Not an extension of the shorter key either.
                keys.insert(hex_encode(Bytes(long_key).first(32)));
                keys.insert(hex_encode(Bytes(long_key).last(32)));
                derived += 3;
            }
        }
    }
    CHECK(keys.size() == derived);
}

TEST_CASE("a MAC depends on every bit of key and message", "[crypto][kdf]") {
    ByteArray<32> key = random_array<32>();
    ByteVector message = random_bytes(48);
    ByteArray<16> reference{};
    mac128(key, message, reference);
    const auto differs = [&] {
        ByteArray<16> other{};
        mac128(key, message, other);
        return other != reference;
    };
    CHECK_FALSE(differs());
    for (std::size_t bit = 0; bit < message.size() * 8; ++bit) {
        message[bit / 8] ^= std::byte{1} << (bit % 8);
        CHECK(differs());
        message[bit / 8] ^= std::byte{1} << (bit % 8);
    }
    for (std::size_t bit = 0; bit < 256; ++bit) {
        key[bit / 8] ^= std::byte{1} << (bit % 8);
        CHECK(differs());
        key[bit / 8] ^= std::byte{1} << (bit % 8);
    }
    message.pop_back();
    CHECK(differs());
}

}  // namespace extencfs::crypto
