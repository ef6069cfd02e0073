// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/legacy_on_disk.h"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <cstdlib>

namespace extencfs::daemon {
namespace {

using legacy::ConfigFormat;

struct Known {
    const char* name;
    const char* variable;  // names another file; nullptr: none
    ConfigFormat format;
};

constexpr std::array kKnown{
    Known{.name = ".encfs6.xml", .variable = "ENCFS6_CONFIG", .format = ConfigFormat::kV6},
    Known{.name = ".encfs5", .variable = "ENCFS5_CONFIG", .format = ConfigFormat::kV5},
    Known{.name = ".encfs4", .variable = nullptr, .format = ConfigFormat::kV4},
    Known{.name = ".encfs7", .variable = nullptr, .format = ConfigFormat::kV7},
};

Failure from_volume_error(const volume::Error& error, const std::string& name) {
    switch (error.kind) {
        case volume::ErrorKind::kWrongPassword:
            return {FailureKind::kWrongPassword, "the password is wrong; try again"};
        case volume::ErrorKind::kUnsupported:
            return {FailureKind::kUnsupported,
                    name + " needs something that is not known here (" + error.detail +
                        "); check that it is the configuration of an EncFS volume"};
        case volume::ErrorKind::kNoMemory:
            return {FailureKind::kKeyDerivation,
                    "there is not enough memory to derive the key; free some"};
        default:
            return {FailureKind::kDamage, name + " is damaged (" + error.detail +
                                              "); restore it from a backup of the volume"};
    }
}

Failure cannot_read(const std::string& name, int error) {
    return {FailureKind::kConfigRead,
            name + " cannot be read (" + errno_text(error) + "); check the path and permissions"};
}

lower::Result<ByteVector> read_open(lower::LowerFs& fs, const lower::Fd& file) {
    const auto is = fs.stat(file.get());
    if (!is) return std::unexpected(is.error());
    if (!S_ISREG(is->st_mode)) return std::unexpected(lower::Errno{EINVAL});
    // One byte more shows that it is longer than any that is parsed.
    ByteVector bytes(legacy::kMostConfigBytes + 1);
    const auto got = fs.pread(file.get(), bytes, 0);
    if (!got) return std::unexpected(got.error());
    bytes.resize(*got);
    return bytes;
}

Outcome<LegacyConfig> parse(const std::string& name, ConfigFormat format, Bytes bytes) {
    auto config = legacy::parse_config(format, bytes);
    if (!config) return std::unexpected(from_volume_error(config.error(), name));
    auto parameters = legacy::parameters_of(*config);
    if (!parameters) return std::unexpected(from_volume_error(parameters.error(), name));
    return LegacyConfig{name, {}, std::move(*config), *parameters, std::string(text_of(bytes))};
}

// A file that the user names himself, anywhere.
Outcome<LegacyConfig> read_named(lower::LowerFs& fs, const std::string& path, ConfigFormat format) {
    const lower::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!file) return std::unexpected(cannot_read(path, errno));
    const auto bytes = read_open(fs, file);
    if (!bytes) return std::unexpected(cannot_read(path, bytes.error().value));
    if (legacy::looks_like_v7(*bytes)) format = ConfigFormat::kV7;
    auto config = parse(path, format, *bytes);
    if (config) config->path = path;
    return config;
}

// By its text, as its name says nothing.
Outcome<LegacyConfig> read_any(lower::LowerFs& fs, const std::string& path) {
    std::optional<Failure> first;
    for (const Known& known : kKnown) {
        // That one is known by how it begins.
        if (known.format == ConfigFormat::kV7) continue;
        auto config = read_named(fs, path, known.format);
        if (config || config.error().kind == FailureKind::kConfigRead) return config;
        if (!first) first = config.error();
    }
    return std::unexpected(*first);
}

}  // namespace

Outcome<std::optional<LegacyConfig>> read_legacy_config(lower::LowerFs& fs, int root_fd,
                                                        const std::string& config_file) {
    if (!config_file.empty()) return read_any(fs, config_file);
    for (const Known& known : kKnown) {
        const char* named = known.variable != nullptr ? std::getenv(known.variable) : nullptr;
        if (named != nullptr && *named != '\0') return read_named(fs, named, known.format);
    }
    return read_legacy_config_in(fs, root_fd);
}

Outcome<std::optional<LegacyConfig>> read_legacy_config_in(lower::LowerFs& fs, int root_fd) {
    for (const Known& known : kKnown) {
        const auto file = fs.open(root_fd, known.name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
        if (!file && file.error().value == ENOENT) continue;
        if (!file) return std::unexpected(cannot_read(known.name, file.error().value));
        const auto bytes = read_open(fs, *file);
        if (!bytes) return std::unexpected(cannot_read(known.name, bytes.error().value));
        return parse(known.name, known.format, *bytes);
    }
    return std::nullopt;
}

Outcome<core::LegacyVolume> unlock_legacy(const LegacyConfig& config, Bytes password,
                                          const LegacyChoices& choices) {
    const auto check = choices.any_key ? legacy::KeyCheck::kAnyKey : legacy::KeyCheck::kChecked;
    const auto secret = legacy::unwrap_key(config.config, config.parameters, password, check);
    if (!secret) return std::unexpected(from_volume_error(secret.error(), config.name));
    return legacy_volume_with(config, secret->bytes(), choices);
}

Outcome<core::LegacyVolume> legacy_volume_with(const LegacyConfig& config, Bytes secret,
                                               const LegacyChoices& choices) {
    auto key = crypto::LegacyKey::create(config.parameters.cipher, secret);
    if (!key) {
        return fail(FailureKind::kUnsupported, "the volume's cipher ", config.config.cipher.name,
                    " cannot be used (", crypto::describe(key.error()),
                    "); install OpenSSL's legacy provider");
    }
    std::shared_ptr<const crypto::GcmSivKey> seal;
    if (config.parameters.contents.seal != legacy::Seal::kNone) {
        auto made = crypto::GcmSivKey::create(secret.first(config.parameters.cipher.key_size));
        if (!made) {
            return fail(FailureKind::kUnsupported,
                        "blocks cannot be sealed with the volume's key (",
                        crypto::describe(made.error()), "); check ", config.name);
        }
        seal = std::make_shared<crypto::GcmSivKey>(std::move(*made));
    }
    return core::LegacyVolume{
        .parameters = config.parameters,
        .key = std::make_shared<crypto::LegacyKey>(std::move(*key)),
        .macs = choices.ignore_macs ? legacy::MacPolicy::kIgnore : legacy::MacPolicy::kCheck,
        .seal = std::move(seal)};
}

}  // namespace extencfs::daemon
