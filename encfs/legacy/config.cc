// SPDX-License-Identifier: Apache-2.0
// What a configuration means: see config_xml.cc and config_binary.cc for how it is written.
#include "encfs/legacy/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "encfs/legacy/config_forms.h"
#include "encfs/volume/crypto_errors.h"

namespace extencfs::legacy {

namespace {

using volume::fail;
using volume::from_crypto;

constexpr std::size_t kChecksumSize = 4;

struct KnownCipher {
    std::string_view name;
    crypto::LegacyCipher cipher;
};
constexpr KnownCipher kCiphers[] = {
    {"ssl/aes", crypto::LegacyCipher::kAes},
    {"ssl/blowfish", crypto::LegacyCipher::kBlowfish},
    {"ssl/camellia", crypto::LegacyCipher::kCamellia},
};

struct KnownScheme {
    std::string_view name;
    NameScheme scheme;
    int first_major, last_major;
};
constexpr KnownScheme kSchemes[] = {
    {"nameio/stream", NameScheme::kStream, 0, 2},
    {"nameio/block", NameScheme::kBlock, 2, 4},
    {"nameio/block32", NameScheme::kBlock32, 2, 4},
    {"nameio/null", NameScheme::kNull, 1, 1},
};

Result<crypto::LegacyCipherSpec> cipher_of(const Config& config) {
    const auto* known = std::ranges::find(kCiphers, config.cipher.name, &KnownCipher::name);
    if (known == std::end(kCiphers)) {
        return fail(ErrorKind::kUnsupported,
                    fmt::format("the cipher '{}' is not known", config.cipher.name));
    }
    if (config.cipher.major < 1 || config.cipher.major > 3) {
        return fail(ErrorKind::kUnsupported,
                    fmt::format("version {} of the cipher '{}' is not known", config.cipher.major,
                                config.cipher.name));
    }
    return crypto::LegacyCipherSpec{known->cipher, config.cipher.major,
                                    crypto::legacy_key_size(known->cipher, config.key_bits)};
}

Result<NameCoding> names_of(const Config& config) {
    const auto* known = std::ranges::find(kSchemes, config.naming.name, &KnownScheme::name);
    if (known == std::end(kSchemes)) {
        return fail(ErrorKind::kUnsupported,
                    fmt::format("the name coding '{}' is not known", config.naming.name));
    }
    if (config.naming.major < known->first_major || config.naming.major > known->last_major) {
        return fail(ErrorKind::kUnsupported,
                    fmt::format("version {} of the name coding '{}' is not known",
                                config.naming.major, config.naming.name));
    }
    return NameCoding{known->scheme, config.naming.major, config.chained_names,
                      config.format == ConfigFormat::kV7};
}

Result<ContentLayout> contents_of(const Config& config, std::size_t cipher_block) {
    constexpr std::uint32_t kMostBlock = 1 << 16, kMostMac = 8, kMostRandom = 255;
    if (config.v7.seal != Seal::kNone) {
        if (config.block_size <= kSealTagSize || config.block_size > kMostBlock)
            return fail(ErrorKind::kDamaged,
                        fmt::format("a block size of {} does not fit", config.block_size));
        if (config.key_bits != 128 && config.key_bits != 256)
            return fail(ErrorKind::kUnsupported,
                        fmt::format("sealed blocks with a key of {} bits", config.key_bits));
        return ContentLayout{.block_size = config.block_size,
                             .mac_size = 0,
                             .random_size = 0,
                             .unique_iv = config.unique_iv,
                             .holes = config.holes,
                             .plain = false,
                             .seal = config.v7.seal};
    }
    if (config.block_size < cipher_block || config.block_size > kMostBlock ||
        config.block_size % cipher_block != 0) {
        return fail(ErrorKind::kDamaged,
                    fmt::format("a block size of {} does not fit the cipher", config.block_size));
    }
    if (config.mac_bytes > kMostMac || config.random_bytes > kMostRandom ||
        config.mac_bytes + config.random_bytes >= config.block_size) {
        return fail(ErrorKind::kDamaged,
                    fmt::format("{} MAC bytes and {} random bytes do not fit blocks of {}",
                                config.mac_bytes, config.random_bytes, config.block_size));
    }
    return ContentLayout{config.block_size,
                         static_cast<std::uint8_t>(config.mac_bytes),
                         static_cast<std::uint8_t>(config.random_bytes),
                         config.unique_iv,
                         config.holes,
                         config.plain_data};
}

// The key object that the password gives.
Result<crypto::LegacyKey> user_key(const Config& config, const Parameters& parameters,
                                   Bytes password) {
    const crypto::LegacyCipherSpec& spec = parameters.cipher;
    crypto::SecretBytes secret(spec.secret_size());
    const auto derived = config.salt.empty()
                             ? crypto::legacy_bytes_to_key(spec, password, secret.mutable_bytes())
                             : crypto::legacy_pbkdf2(password, config.salt, config.iterations,
                                                     secret.mutable_bytes());
    if (!derived) return from_crypto(derived.error(), "key from the password");
    auto key = crypto::LegacyKey::create(spec, secret.bytes());
    if (!key) return from_crypto(key.error(), "key from the password");
    return std::move(*key);
}

}  // namespace

Result<Config> parse_config(ConfigFormat format, Bytes text) {
    if (text.size() > kMostConfigBytes) return fail(ErrorKind::kDamaged, "it is too long");
    if (format == ConfigFormat::kV7) return parse_v7_config(text);
    return format == ConfigFormat::kV6 ? parse_xml_config(text_of(text))
                                       : parse_binary_config(format, text);
}

std::string serialize_config(const Config& config) {
    if (config.format == ConfigFormat::kV7) return v7_config(config);
    return config.format == ConfigFormat::kV6 ? xml_config(config) : binary_config(config);
}

Result<Parameters> parameters_of(const Config& config) {
    const auto cipher = cipher_of(config);
    if (!cipher) return std::unexpected(cipher.error());
    const auto names = names_of(config);
    if (!names) return std::unexpected(names.error());
    const auto contents = contents_of(config, crypto::legacy_block_size(cipher->cipher));
    if (!contents) return std::unexpected(contents.error());
    // Without a header there is nothing that could depend on the path, nor without chained names.
    const bool v7 = config.format == ConfigFormat::kV7;
    // EncFS 2 clears both together; what one without the other would mean is not known.
    if (v7 && config.external_iv && !config.chained_names)
        return fail(ErrorKind::kUnsupported, "external IVs without chained names");
    // Sealed blocks of a file without a header depend on its path by themselves.
    const bool bound = contents->header_size() > 0 || contents->seal != Seal::kNone;
    const bool path_in_header = config.external_iv && bound && config.chained_names;
    return Parameters{*cipher, *names, *contents, path_in_header, v7};
}

Result<crypto::SecretBytes> unwrap_key(const Config& config, const Parameters& parameters,
                                       Bytes password, KeyCheck check) {
    const std::size_t size = parameters.cipher.secret_size();
    if (config.format == ConfigFormat::kV7) return unwrap_v7_key(config, size, password);
    if (config.wrapped_key.size() != size + kChecksumSize)
        return fail(ErrorKind::kDamaged, "the volume's key has not the size that its cipher takes");
    const auto key = user_key(config, parameters, password);
    if (!key) return std::unexpected(key.error());
    std::uint32_t checksum = 0;
    const Bytes wrapped(config.wrapped_key);
    for (const std::byte byte : wrapped.first(kChecksumSize))
        checksum = checksum << 8 | static_cast<std::uint32_t>(byte);
    crypto::SecretBytes secret(wrapped.subspan(kChecksumSize));
    const auto opened = key->decode_stream(secret.mutable_bytes(), checksum);
    if (!opened) return from_crypto(opened.error(), "volume key");
    const auto mac = key->mac64(secret.bytes());
    if (!mac) return from_crypto(mac.error(), "volume key");
    if (check == KeyCheck::kChecked && crypto::fold32(*mac) != checksum)
        return fail(ErrorKind::kWrongPassword, "the password does not open the volume's key");
    return secret;
}

Result<ByteVector> wrap_key(const Config& config, const Parameters& parameters, Bytes password,
                            Bytes secret) {
    if (config.format == ConfigFormat::kV7)
        return fail(ErrorKind::kUnsupported, "the password of such a volume cannot be changed");
    if (secret.size() != parameters.cipher.secret_size())
        return fail(ErrorKind::kBadParameter, "not a key of this volume");
    const auto key = user_key(config, parameters, password);
    if (!key) return std::unexpected(key.error());
    const auto mac = key->mac64(secret);
    if (!mac) return from_crypto(mac.error(), "volume key");
    const std::uint32_t checksum = crypto::fold32(*mac);
    ByteVector wrapped(kChecksumSize + secret.size());
    for (std::size_t i = 0; i < kChecksumSize; ++i)
        wrapped[i] = static_cast<std::byte>(checksum >> (8 * (kChecksumSize - 1 - i)));
    const MutBytes body = MutBytes(wrapped).subspan(kChecksumSize);
    std::copy(secret.begin(), secret.end(), body.begin());
    const auto sealed = key->encode_stream(body, checksum);
    if (!sealed) {
        crypto::wipe(wrapped);
        return from_crypto(sealed.error(), "volume key");
    }
    return wrapped;
}

}  // namespace extencfs::legacy
