// SPDX-License-Identifier: Apache-2.0
// .encfs5 and .encfs4: a flat dictionary of length-prefixed keys and values.
#include <fmt/format.h>

#include <map>
#include <optional>

#include "encfs/legacy/config_forms.h"
#include "encfs/volume/crypto_errors.h"

namespace extencfs::legacy {

namespace {

using volume::fail;

// Takes values off the front of bytes; after the first that does not fit, all are empty.
class Reader {
  public:
    explicit Reader(Bytes bytes) : rest_(bytes) {}

    // Base 128, the most significant digit first, each but the last with its high bit set.
    std::uint32_t number() {
        constexpr int kMostDigits = 5;
        std::uint64_t value = 0;
        for (int i = 0; i < kMostDigits && !rest_.empty(); ++i) {
            const auto digit = static_cast<std::uint8_t>(rest_.front());
            rest_ = rest_.subspan(1);
            value = value << 7 | (digit & 0x7f);
            if ((digit & 0x80) != 0) continue;
            if (value > INT32_MAX) break;
            return static_cast<std::uint32_t>(value);
        }
        return refuse();
    }
    Bytes bytes() {
        const std::uint32_t size = number();
        if (size > rest_.size()) {
            refuse();
            return {};
        }
        const Bytes out = rest_.first(size);
        rest_ = rest_.subspan(size);
        return out;
    }
    std::string text() { return std::string(text_of(bytes())); }
    bool good() const { return good_; }

  private:
    std::uint32_t refuse() {
        good_ = false;
        rest_ = {};
        return 0;
    }
    Bytes rest_;
    bool good_ = true;
};

using Dictionary = std::map<std::string, Bytes, std::less<>>;

std::optional<Dictionary> dictionary_of(Bytes bytes) {
    Reader reader(bytes);
    Dictionary entries;
    // Each entry takes two bytes at least, so the count is bounded by the file.
    for (std::uint32_t left = reader.number(); left > 0 && reader.good(); --left) {
        std::string key = reader.text();
        const Bytes value = reader.bytes();
        entries.insert_or_assign(std::move(key), value);
    }
    if (!reader.good()) return std::nullopt;
    return entries;
}

// Members by key; remembers the first that is wrong.
class Members {
  public:
    explicit Members(const Dictionary& entries) : entries_(entries) {}

    void number(std::string_view key, std::uint32_t& out, bool required) {
        take(key, required, [&](Reader& value) { out = value.number(); });
    }
    void flag(std::string_view key, bool& out) {
        take(key, false, [&](Reader& value) { out = value.number() != 0; });
    }
    void text(std::string_view key, std::string& out) {
        take(key, false, [&](Reader& value) { out = value.text(); });
    }
    void bytes(std::string_view key, ByteVector& out) {
        take(key, true, [&](Reader& value) {
            const Bytes found = value.bytes();
            out.assign(found.begin(), found.end());
        });
    }
    void interface(std::string_view key, Interface& out) {
        take(key, true, [&](Reader& value) {
            out.name = value.text();
            out.major = static_cast<int>(value.number());
            out.minor = static_cast<int>(value.number());
            out.age = static_cast<int>(value.number());
        });
    }
    const std::optional<std::string>& wrong() const { return wrong_; }

  private:
    void take(std::string_view key, bool required, const auto& read) {
        const auto found = entries_.find(key);
        if (found == entries_.end()) {
            if (required) blame(key, "is missing");
            return;
        }
        Reader value(found->second);
        read(value);
        if (!value.good()) blame(key, "is cut off or out of range");
    }
    void blame(std::string_view key, std::string_view why) {
        if (!wrong_) wrong_ = fmt::format("'{}' {}", key, why);
    }
    const Dictionary& entries_;
    std::optional<std::string> wrong_;
};

// ---- writing ----

void put_number(std::string& out, std::uint32_t value) {
    bool begun = false;
    for (int shift = 28; shift >= 0; shift -= 7) {
        const std::uint32_t digit = value >> shift & 0x7f;
        begun = begun || digit != 0 || shift == 0;
        if (begun) out += static_cast<char>(digit | (shift > 0 ? 0x80u : 0));
    }
}

void put_text(std::string& out, std::string_view text) {
    put_number(out, static_cast<std::uint32_t>(text.size()));
    out += text;
}

std::string number_value(std::uint32_t value) {
    std::string out;
    put_number(out, value);
    return out;
}

std::string text_value(std::string_view text) {
    std::string out;
    put_text(out, text);
    return out;
}

std::string interface_value(const Interface& value) {
    std::string out = text_value(value.name);
    for (const int number : {value.major, value.minor, value.age})
        put_number(out, static_cast<std::uint32_t>(number));
    return out;
}

}  // namespace

Result<Config> parse_binary_config(ConfigFormat format, Bytes bytes) {
    const auto entries = dictionary_of(bytes);
    if (!entries) return fail(ErrorKind::kDamaged, "it is cut off, or no configuration of EncFS");
    Members members(*entries);
    Config config;
    config.format = format;
    members.interface("cipher", config.cipher);
    members.number("keySize", config.key_bits, true);
    members.number("blockSize", config.block_size, true);
    members.bytes("keyData", config.wrapped_key);
    if (format == ConfigFormat::kV4) {
        config.naming = {"nameio/stream", 1, 0, 0};
    } else {
        std::uint32_t sub_version = 0;
        members.text("creator", config.creator);
        members.number("subVersion", sub_version, true);
        members.interface("naming", config.naming);
        members.flag("uniqueIV", config.unique_iv);
        members.flag("chainedIV", config.chained_names);
        members.flag("externalIV", config.external_iv);
        members.number("blockMACBytes", config.mac_bytes, false);
        members.number("blockMACRandBytes", config.random_bytes, false);
        members.flag("allowHoles", config.holes);
        config.sub_version = sub_version;
    }
    if (members.wrong()) return fail(ErrorKind::kDamaged, *members.wrong());
    if (format == ConfigFormat::kV5 && config.sub_version < kFirstSubVersion) {
        return fail(
            ErrorKind::kUnsupported,
            fmt::format("version {} of the configuration is not known", config.sub_version));
    }
    return config;
}

std::string binary_config(const Config& config) {
    std::map<std::string, std::string, std::less<>> entries{
        {"cipher", interface_value(config.cipher)},
        {"keySize", number_value(config.key_bits)},
        {"blockSize", number_value(config.block_size)},
        {"keyData", text_value(text_of(config.wrapped_key))},
    };
    if (config.format == ConfigFormat::kV5) {
        const auto flag = [](bool value) { return number_value(value ? 1 : 0); };
        entries.insert({
            {"creator", text_value(config.creator)},
            {"subVersion", number_value(static_cast<std::uint32_t>(config.sub_version))},
            {"naming", interface_value(config.naming)},
            {"uniqueIV", flag(config.unique_iv)},
            {"chainedIV", flag(config.chained_names)},
            {"externalIV", flag(config.external_iv)},
            {"blockMACBytes", number_value(config.mac_bytes)},
            {"blockMACRandBytes", number_value(config.random_bytes)},
        });
        // Only 1.4.2 knows it; the others would refuse the date that goes with it.
        if (config.holes) entries.insert({"allowHoles", flag(true)});
    }
    std::string out;
    put_number(out, static_cast<std::uint32_t>(entries.size()));
    for (const auto& [key, value] : entries) {
        put_text(out, key);
        put_text(out, value);
    }
    return out;
}

}  // namespace extencfs::legacy
