// SPDX-License-Identifier: Apache-2.0
// .encfs6.xml: an archive of the Boost serialization library, of which only the elements' names and
// texts say anything. pugixml reads no external entities and expands none but XML's own five.
#include <fmt/format.h>

#include <charconv>
#include <limits>
#include <optional>
#include <pugixml.hpp>

#include "crypto/encoding.h"
#include "encfs/legacy/config_forms.h"
#include "encfs/volume/crypto_errors.h"

namespace extencfs::legacy {

namespace {

using volume::fail;

constexpr std::int64_t kNewestSubVersion = 20100713;

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kSpace = " \t\r\n";
    const std::size_t first = text.find_first_not_of(kSpace);
    if (first == std::string_view::npos) return {};
    return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

template <typename Number>
std::optional<Number> number_of(std::string_view text) {
    text = trimmed(text);
    Number value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// Reads members of one element, and remembers the first that is wrong.
class Reader {
  public:
    explicit Reader(pugi::xml_node node) : node_(node) {}

    template <typename Number>
    void number(const char* name, Number& out, bool required = true) {
        const pugi::xml_node child = node_.child(name);
        if (!child) {
            if (required) blame(name, "is missing");
            return;
        }
        const auto value = number_of<Number>(child.child_value());
        if (value)
            out = *value;
        else
            blame(name, "is no number in range");
    }

    // 1.9 before 1.9.2 could write words.
    void flag(const char* name, bool& out) {
        const std::string_view text = trimmed(node_.child_value(name));
        if (text == "true" || text == "false") {
            out = text == "true";
            return;
        }
        std::int64_t value = 0;
        number(name, value, false);
        out = value != 0;
    }

    void bytes(const char* name, const char* size_name, ByteVector& out) {
        std::uint32_t size = 0;
        number(size_name, size);
        auto decoded = crypto::base64_decode(node_.child_value(name));
        if (!decoded)
            blame(name, "is not base64");
        else if (decoded->size() != size)
            blame(name, fmt::format("has {} bytes, not {}", decoded->size(), size));
        else
            out = std::move(*decoded);
    }

    void interface(const char* name, Interface& out) {
        const pugi::xml_node child = node_.child(name);
        if (!child) {
            blame(name, "is missing");
            return;
        }
        out.name = trimmed(child.child_value("name"));
        Reader inside(child);
        inside.number("major", out.major);
        inside.number("minor", out.minor);
        if (inside.wrong_) blame(name, *inside.wrong_);
    }

    void blame(const char* name, std::string_view why) {
        if (!wrong_) wrong_ = fmt::format("'{}' {}", name, why);
    }
    const std::optional<std::string>& wrong() const { return wrong_; }

  private:
    pugi::xml_node node_;
    std::optional<std::string> wrong_;
};

// Boost wrote dates of 2008 through 16 bits for a while.
std::int64_t sub_version_of(pugi::xml_node config) {
    const std::int64_t attribute = config.attribute("version").as_llong(0);
    const std::int64_t told =
        config.child("version") ? number_of<std::int64_t>(config.child_value("version")).value_or(0)
                                : attribute;
    switch (told) {
        case 20:
            return kNewestSubVersion;
        case 26800:
            return 20080816;
        case 26797:
            return 20080813;
        default:
            return told;
    }
}

std::string element(std::string_view name, const auto& value) {
    return fmt::format("        <{0}>{1}</{0}>\n", name, value);
}

std::string lines_of(std::string_view name, Bytes bytes) {
    return fmt::format("        <{0}>\n{1}\n</{0}>\n", name, crypto::base64_encode(bytes));
}

std::string escaped(std::string_view text) {
    std::string out;
    for (const char c : text) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

}  // namespace

Result<Config> parse_xml_config(std::string_view text) {
    pugi::xml_document document;
    const pugi::xml_parse_result parsed = document.load_buffer(text.data(), text.size());
    if (!parsed)
        return fail(ErrorKind::kDamaged, fmt::format("it is no XML: {}", parsed.description()));
    const pugi::xml_node root = document.child("boost_serialization");
    pugi::xml_node node = root.child("cfg");
    if (!node) node = root.child("config");
    if (!node) return fail(ErrorKind::kDamaged, "it holds no configuration of EncFS");
    Config config;
    config.sub_version = sub_version_of(node);
    if (config.sub_version < kFirstSubVersion) {
        return fail(
            ErrorKind::kUnsupported,
            fmt::format("version {} of the configuration is not known", config.sub_version));
    }
    config.creator = trimmed(node.child_value("creator"));
    Reader reader(node);
    reader.interface("cipherAlg", config.cipher);
    reader.interface("nameAlg", config.naming);
    reader.number("keySize", config.key_bits);
    reader.number("blockSize", config.block_size);
    reader.flag("plainData", config.plain_data);
    reader.flag("uniqueIV", config.unique_iv);
    reader.flag("chainedNameIV", config.chained_names);
    reader.flag("externalIVChaining", config.external_iv);
    reader.number("blockMACBytes", config.mac_bytes, false);
    reader.number("blockMACRandBytes", config.random_bytes, false);
    reader.flag("allowHoles", config.holes);
    reader.bytes("encodedKeyData", "encodedKeySize", config.wrapped_key);
    config.iterations = kOldIterations;
    if (config.sub_version >= kSaltSubVersion) {
        reader.bytes("saltData", "saltLen", config.salt);
        reader.number("kdfIterations", config.iterations);
        reader.number("desiredKDFDuration", config.kdf_ms, false);
    }
    if (reader.wrong()) return fail(ErrorKind::kDamaged, *reader.wrong());
    return config;
}

std::string xml_config(const Config& config) {
    const auto interface = [](std::string_view name, std::string_view attributes,
                              const Interface& value) {
        return fmt::format(
            "        <{0}{1}>\n            <name>{2}</name>\n            <major>{3}</major>\n"
            "            <minor>{4}</minor>\n        </{0}>\n",
            name, attributes, escaped(value.name), value.major, value.minor);
    };
    const auto flag = [](std::string_view name, bool value) {
        return element(name, value ? 1 : 0);
    };
    std::string text =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<!DOCTYPE boost_serialization>\n"
        "<boost_serialization signature=\"serialization::archive\" version=\"7\">\n"
        "    <cfg class_id=\"0\" tracking_level=\"0\" version=\"20\">\n";
    text += element("version", kNewestSubVersion) + element("creator", escaped(config.creator));
    text +=
        interface("cipherAlg", " class_id=\"1\" tracking_level=\"0\" version=\"0\"", config.cipher);
    text += interface("nameAlg", "", config.naming);
    text += element("keySize", config.key_bits) + element("blockSize", config.block_size);
    text += flag("plainData", config.plain_data) + flag("uniqueIV", config.unique_iv);
    text += flag("chainedNameIV", config.chained_names);
    text += flag("externalIVChaining", config.external_iv);
    text += element("blockMACBytes", config.mac_bytes);
    text += element("blockMACRandBytes", config.random_bytes) + flag("allowHoles", config.holes);
    text += element("encodedKeySize", config.wrapped_key.size());
    text += lines_of("encodedKeyData", config.wrapped_key);
    text += element("saltLen", config.salt.size()) + lines_of("saltData", config.salt);
    text += element("kdfIterations", config.iterations);
    text += element("desiredKDFDuration", config.kdf_ms);
    return text + "    </cfg>\n</boost_serialization>\n";
}

}  // namespace extencfs::legacy
