// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/config.h"

#include "tests/unit/legacy/keys.h"

namespace extencfs::legacy {

namespace {

Config an_old_one(ConfigFormat format) {
    Config config;
    config.format = format;
    config.cipher = {"ssl/blowfish", 2, 1, 1};
    config.naming = {"nameio/stream", 1, 0, 0};
    config.key_bits = 160;
    config.block_size = 512;
    config.wrapped_key = counted(32);
    if (format == ConfigFormat::kV4) return config;
    config.creator = "EncFS 1.2.5 & <others>";
    config.sub_version = 20040813;
    config.naming = {"nameio/block", 3, 0, 1};
    config.unique_iv = config.chained_names = config.external_iv = true;
    config.mac_bytes = 8;
    config.random_bytes = 300;
    if (format == ConfigFormat::kV5) return config;
    config.sub_version = 20100713;
    config.cipher.age = config.naming.age = 0;  // not written there
    config.salt = counted(20);
    config.iterations = 185661;
    config.kdf_ms = 500;
    config.holes = true;
    return config;
}

void check_same(const Config& a, const Config& b) {
    const auto same = [](const Interface& x, const Interface& y) {
        return x.name == y.name && x.major == y.major && x.minor == y.minor && x.age == y.age;
    };
    CHECK(a.creator == b.creator);
    CHECK(a.sub_version == b.sub_version);
    CHECK(same(a.cipher, b.cipher));
    CHECK(same(a.naming, b.naming));
    CHECK(a.key_bits == b.key_bits);
    CHECK(a.block_size == b.block_size);
    CHECK((a.unique_iv == b.unique_iv && a.chained_names == b.chained_names));
    CHECK((a.external_iv == b.external_iv && a.holes == b.holes && a.plain_data == b.plain_data));
    CHECK((a.mac_bytes == b.mac_bytes && a.random_bytes == b.random_bytes));
    CHECK(a.wrapped_key == b.wrapped_key);
    CHECK(a.salt == b.salt);
    CHECK((b.salt.empty() || a.iterations == b.iterations));
}

const std::string& standard() {
    static const std::string text = serialize_config(an_old_one(ConfigFormat::kV6));
    return text;
}

Result<Config> parse(const std::string& text) {
    return parse_config(ConfigFormat::kV6, bytes_of(text));
}

std::string with(const std::string& old, const std::string& now) {
    std::string text = standard();
    const std::size_t at = text.find(old);
    REQUIRE(at != std::string::npos);
    return text.replace(at, old.size(), now);
}

std::string refusal(const std::string& old, const std::string& now) {
    const auto config = parse(with(old, now));
    REQUIRE_FALSE(config.has_value());
    return config.error().detail;
}

}  // namespace

TEST_CASE("configurations of EncFS come back in each form") {
    for (const auto format : {ConfigFormat::kV4, ConfigFormat::kV5, ConfigFormat::kV6}) {
        const Config config = an_old_one(format);
        const auto back = parse_config(format, bytes_of(serialize_config(config)));
        REQUIRE(back.has_value());
        check_same(*back, config);
    }
}

TEST_CASE("the versions of .encfs6.xml mean what they meant") {
    const std::string version = "<version>20100713</version>";
    CHECK(parse(with(version, "<version>20</version>"))->sub_version == 20100713);
    CHECK(parse(with(version, "<version>26800</version>"))->sub_version == 20080816);
    CHECK(parse(with(version, ""))->sub_version == 20100713);  // the attribute says 20
    // Before salts: neither they nor iterations are looked for.
    const auto old = parse(with(version, "<version>20080813</version>"));
    REQUIRE(old.has_value());
    CHECK(old->salt.empty());
    CHECK(parse(with(version, "<version>20030101</version>")).error().kind ==
          ErrorKind::kUnsupported);
}

TEST_CASE("what other programs write in .encfs6.xml is read") {
    CHECK(parse(with("<cfg ", "<config ").replace(standard().find("</cfg>") + 3, 6, "</config>"))
              .has_value());
    CHECK(parse(with("<uniqueIV>1<", "<uniqueIV> true <"))->unique_iv);
    CHECK_FALSE(parse(with("<uniqueIV>1<", "<uniqueIV>false<"))->unique_iv);
    CHECK(parse(with("<plainData>0</plainData>", "")).has_value());
    CHECK_FALSE(parse(with("<plainData>0</plainData>", ""))->plain_data);
    CHECK(parse(with("<keySize>160<", "<keySize>\n 160\t<"))->key_bits == 160);
}

TEST_CASE("a broken .encfs6.xml is refused with the member's name") {
    CHECK(refusal("<keySize>160</keySize>", "") == "'keySize' is missing");
    CHECK(refusal("<keySize>160<", "<keySize>many<") == "'keySize' is no number in range");
    CHECK(refusal("<keySize>160<", "<keySize>-1<") == "'keySize' is no number in range");
    CHECK(refusal("<keySize>160<", "<keySize>99999999999<") == "'keySize' is no number in range");
    CHECK(refusal("<encodedKeySize>32<", "<encodedKeySize>31<") ==
          "'encodedKeyData' has 32 bytes, not 31");
    CHECK(refusal("<saltLen>20<", "<saltLen>4000000000<") ==
          "'saltData' has 20 bytes, not 4000000000");
    CHECK(refusal("AAECAwQF", "AAEC!wQF") == "'encodedKeyData' is not base64");
    CHECK(refusal("<major>2</major>", "") == "'cipherAlg' 'major' is missing");
    CHECK(refusal("cfg", "other").find("XML") != std::string::npos);
    CHECK(parse("").error().kind == ErrorKind::kDamaged);
    CHECK(parse("<a/>").error().detail == "it holds no configuration of EncFS");
    CHECK(parse(std::string(kMostConfigBytes + 1, ' ')).error().detail == "it is too long");
    for (std::size_t size = 0; size < standard().size(); size += 7)
        CHECK_FALSE(parse(standard().substr(0, size)).has_value());
}

TEST_CASE("entities of a document are not expanded") {
    const std::string text =
        with("<!DOCTYPE boost_serialization>",
             "<!DOCTYPE b [<!ENTITY n \"160\"><!ENTITY m SYSTEM \"/etc/passwd\">]>");
    CHECK(parse(text).has_value());
    CHECK_FALSE(parse(std::string(text).replace(text.find("<keySize>160"), 12, "<keySize>&n;"))
                    .has_value());
}

TEST_CASE("a binary configuration cut off anywhere is refused") {
    for (const auto format : {ConfigFormat::kV4, ConfigFormat::kV5}) {
        const std::string text = serialize_config(an_old_one(format));
        for (std::size_t size = 0; size < text.size(); ++size)
            CHECK_FALSE(parse_config(format, bytes_of(text.substr(0, size))).has_value());
        CHECK_FALSE(parse_config(format, bytes_of("\xff\xff\xff\xff\xff\xff")).has_value());
    }
    Config config = an_old_one(ConfigFormat::kV5);
    config.sub_version = 20040812;
    CHECK(parse_config(ConfigFormat::kV5, bytes_of(serialize_config(config))).error().kind ==
          ErrorKind::kUnsupported);
    // 1.4.2 wrote this; 1.9.5 refuses it.
    config.sub_version = 20080411;
    config.holes = true;
    CHECK(parse_config(ConfigFormat::kV5, bytes_of(serialize_config(config)))->holes);
}

TEST_CASE("algorithms and sizes of a configuration are checked") {
    const auto kind = [](auto change) {
        Config config = an_old_one(ConfigFormat::kV6);
        config.random_bytes = 8;
        change(config);
        const auto parameters = parameters_of(config);
        REQUIRE_FALSE(parameters.has_value());
        return parameters.error().kind;
    };
    CHECK(kind([](Config& c) { c.cipher.name = "ssl/des"; }) == ErrorKind::kUnsupported);
    CHECK(kind([](Config& c) { c.cipher.major = 4; }) == ErrorKind::kUnsupported);
    CHECK(kind([](Config& c) { c.cipher.major = 0; }) == ErrorKind::kUnsupported);
    CHECK(kind([](Config& c) { c.naming.name = "nameio/rot13"; }) == ErrorKind::kUnsupported);
    CHECK(kind([](Config& c) { c.naming.major = 5; }) == ErrorKind::kUnsupported);
    CHECK(kind([](Config& c) { c.block_size = 0; }) == ErrorKind::kDamaged);
    CHECK(kind([](Config& c) { c.block_size = 516; }) == ErrorKind::kDamaged);
    CHECK(kind([](Config& c) { c.block_size = 1 << 20; }) == ErrorKind::kDamaged);
    CHECK(kind([](Config& c) { c.mac_bytes = 9; }) == ErrorKind::kDamaged);
    CHECK(kind([](Config& c) { c.random_bytes = 300; }) == ErrorKind::kDamaged);
    CHECK(kind([](Config& c) { c.block_size = 8; }) == ErrorKind::kDamaged);  // all of it overhead

    Config config = an_old_one(ConfigFormat::kV6);
    config.random_bytes = 0;
    const auto parameters = parameters_of(config);
    REQUIRE(parameters.has_value());
    CHECK(parameters->cipher.key_size == 20);
    CHECK(parameters->contents.data_size() == 504);
    CHECK(parameters->path_in_header);
    config.unique_iv = false;
    CHECK_FALSE(parameters_of(config)->path_in_header);
}

TEST_CASE("a volume's key comes back under a new password") {
    for (const auto format : {ConfigFormat::kV5, ConfigFormat::kV6}) {
        Config config = an_old_one(format);
        config.random_bytes = 0;
        config.iterations = 7;
        const auto parameters = parameters_of(config);
        REQUIRE(parameters.has_value());
        const ByteVector secret = counted(parameters->cipher.secret_size(), 3, 5);
        auto wrapped = wrap_key(config, *parameters, bytes_of("new"), secret);
        REQUIRE(wrapped.has_value());
        config.wrapped_key = *wrapped;
        const auto back = unwrap_key(config, *parameters, bytes_of("new"), KeyCheck::kChecked);
        REQUIRE(back.has_value());
        CHECK(hex(back->bytes()) == hex(secret));
        config.wrapped_key.pop_back();
        CHECK(unwrap_key(config, *parameters, bytes_of("new"), KeyCheck::kAnyKey).error().kind ==
              ErrorKind::kDamaged);
        CHECK_FALSE(wrap_key(config, *parameters, bytes_of("new"), counted(5)).has_value());
    }
}

}  // namespace extencfs::legacy
