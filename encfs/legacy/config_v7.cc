// SPDX-License-Identifier: Apache-2.0
// .encfs7, of EncFS 2 (FORMAT.md "V7").
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "crypto/aead.h"
#include "crypto/digest.h"
#include "crypto/password_kdf.h"
#include "encfs/legacy/config_forms.h"
#include "encfs/legacy/protobuf.h"
#include "encfs/volume/crypto_errors.h"

namespace extencfs::legacy {

namespace {

using volume::fail;
using volume::from_crypto;

constexpr std::string_view kMagic("ENCFS7\0", 7);
constexpr std::uint32_t kReaderVersion = 2;
constexpr std::size_t kNonceSize = 12;

enum Field : std::uint32_t {
    kKey = 1,
    kArgon2 = 2,
    kLegacy = 3,
    kNames = 4,
    kFlags = 5,
    kHash = 6,
    kGcmSiv = 7,
    kReader = 8,
};
constexpr std::uint32_t kDefaultMemory = 65536, kDefaultPasses = 3, kDefaultLanes = 4;
enum NameMode : std::uint32_t { kStreamNames = 1, kBlockNames = 2 };
enum Algorithm : std::uint32_t { kAes = 1, kBlowfish = 2 };

// Reads the fields of one message; the first thing that does not fit is kept as the error.
class Fields {
  public:
    Fields(Bytes bytes, const char* name, std::uint32_t last) : name_(name) {
        auto parsed = parse_proto(bytes);
        if (!parsed) {
            keep(std::move(parsed.error()));
            return;
        }
        message_ = std::move(*parsed);
        for (const auto& [number, value] : message_) {
            if (number <= last) continue;
            keep({ErrorKind::kUnsupported,
                  fmt::format("the field {} of {} is not known", number, name_)});
        }
    }

    const ProtoMessage& message() const { return message_; }
    bool has(std::uint32_t field) const { return message_.contains(field); }
    std::uint32_t number(std::uint32_t field, std::uint32_t otherwise = 0) {
        const auto it = message_.find(field);
        if (it == message_.end()) return otherwise;
        const auto* value = std::get_if<std::uint64_t>(&it->second);
        if (value == nullptr || *value > UINT32_MAX) return wrong(field), 0;
        return *value == 0 ? otherwise : static_cast<std::uint32_t>(*value);
    }
    bool flag(std::uint32_t field) { return number(field) != 0; }
    ByteVector bytes(std::uint32_t field) {
        const auto it = message_.find(field);
        if (it == message_.end()) return {};
        const auto* value = std::get_if<ByteVector>(&it->second);
        if (value == nullptr) return wrong(field), ByteVector();
        return *value;
    }
    const std::optional<Error>& error() const { return error_; }
    void keep(Error error) {
        if (!error_) error_ = std::move(error);
    }

  private:
    void wrong(std::uint32_t field) {
        keep({ErrorKind::kDamaged, fmt::format("the field {} of {} is wrong", field, name_)});
    }
    ProtoMessage message_;
    const char* name_;
    std::optional<Error> error_;
};

// What the hash is of: all but the key and the hash itself. `cipher_first`: a message of field 7
// lies where one of field 3 would, as the two exclude each other.
ByteArray<32> hash_of(const ProtoMessage& message, bool cipher_first) {
    ProtoMessage hashed = message;
    hashed.erase(kKey);
    hashed.erase(kHash);
    if (!cipher_first || !hashed.contains(kGcmSiv)) return crypto::sha256(write_proto(hashed));
    ProtoMessage before, after;
    for (const auto& [number, value] : hashed) {
        if (number != kGcmSiv) (number < kLegacy ? before : after).emplace(number, value);
    }
    ByteVector out = write_proto(before);
    write_field(out, kGcmSiv, hashed.at(kGcmSiv));
    const ByteVector rest = write_proto(after);
    out.insert(out.end(), rest.begin(), rest.end());
    return crypto::sha256(out);
}

// The nested messages as they would be written.
ProtoMessage canonical(const ProtoMessage& message) {
    ProtoMessage out = message;
    for (const std::uint32_t field : {kArgon2, kLegacy, kNames, kFlags, kGcmSiv}) {
        const auto it = out.find(field);
        if (it == out.end()) continue;
        const auto* bytes = std::get_if<ByteVector>(&it->second);
        if (bytes == nullptr) continue;
        if (auto inner = parse_proto(*bytes)) it->second = write_proto(*inner);
    }
    return out;
}

Result<void> cipher_from(Fields& top, Config& config) {
    if (top.has(kLegacy) == top.has(kGcmSiv))
        return fail(ErrorKind::kDamaged, "it names no cipher, or two");
    config.cipher = {"ssl/aes", 3, 0, 0};
    if (top.has(kGcmSiv)) {
        const ByteVector bytes = top.bytes(kGcmSiv);
        Fields in(bytes, "the cipher", 4);
        config.key_bits = in.number(1);
        config.block_size = in.number(2);
        config.unique_iv = in.flag(3);
        const std::uint32_t width = in.number(4);
        config.v7.seal = width == 0 ? Seal::kIv64 : Seal::kIv96;
        if (width > 1)
            in.keep(
                {ErrorKind::kUnsupported, fmt::format("IVs of the kind {} are not known", width)});
        if (in.error()) return std::unexpected(*in.error());
        return {};
    }
    const ByteVector bytes = top.bytes(kLegacy);
    Fields in(bytes, "the cipher", 6);
    const std::uint32_t algorithm = in.number(1);
    config.key_bits = in.number(2);
    config.block_size = in.number(3);
    config.mac_bytes = in.number(4);
    config.random_bytes = in.number(5);
    config.unique_iv = in.flag(6);
    if (in.error()) return std::unexpected(*in.error());
    if (algorithm == kBlowfish) config.cipher.name = "ssl/blowfish";
    if (algorithm != kAes && algorithm != kBlowfish)
        return fail(ErrorKind::kUnsupported, fmt::format("the cipher {} is not known", algorithm));
    if (config.random_bytes != 0)
        return fail(ErrorKind::kUnsupported, "random bytes in blocks are not known there");
    // Sealed blocks, as they were told of before they had a message of their own.
    constexpr std::uint32_t kTagBytes = 16;
    if (config.mac_bytes == kTagBytes) {
        if (algorithm != kAes)
            return fail(ErrorKind::kUnsupported, "blocks can be sealed with AES only");
        config.mac_bytes = 0;
        config.v7.seal = Seal::kIv64;
        config.v7.seal_as_mac = true;
    }
    return {};
}

}  // namespace

bool looks_like_v7(Bytes bytes) {
    return text_of(bytes).starts_with(kMagic);
}

Result<Config> parse_v7_config(Bytes bytes) {
    if (looks_like_v7(bytes)) bytes = bytes.subspan(kMagic.size());
    Fields top(bytes, "the configuration", kReader);
    Config config;
    config.format = ConfigFormat::kV7;
    config.creator = "EncFS 2";
    config.wrapped_key = top.bytes(kKey);
    const ByteVector argon2 = top.bytes(kArgon2), names = top.bytes(kNames);
    const ByteVector flags = top.bytes(kFlags);
    config.v7.hash = top.bytes(kHash);
    config.v7.reader_version = top.number(kReader, 1);
    if (top.error()) return std::unexpected(*top.error());
    if (config.v7.reader_version > kReaderVersion) {
        return fail(ErrorKind::kUnsupported,
                    fmt::format("a reader of version {}", config.v7.reader_version));
    }
    if (!config.v7.hash.empty() && config.v7.hash.size() != 32)
        return fail(ErrorKind::kDamaged, "its hash has a wrong size");
    if (auto cipher = cipher_from(top, config); !cipher) return std::unexpected(cipher.error());

    Fields kdf(argon2, "the key derivation", 4);
    config.salt = kdf.bytes(1);
    config.v7.memory_kib = kdf.number(2, kDefaultMemory);
    config.v7.passes = kdf.number(3, kDefaultPasses);
    config.v7.lanes = kdf.number(4, kDefaultLanes);
    if (kdf.error()) return std::unexpected(*kdf.error());

    Fields naming(names, "the name coding", 3);
    const std::uint32_t mode = naming.number(1);
    config.chained_names = naming.flag(2);
    config.external_iv = naming.flag(3);
    if (naming.error()) return std::unexpected(*naming.error());
    if (mode == kStreamNames)
        config.naming = {"nameio/stream", 2, 0, 0};
    else if (mode == kBlockNames)
        config.naming = {"nameio/block", 4, 0, 0};
    else
        return fail(ErrorKind::kUnsupported, fmt::format("the name coding {} is not known", mode));

    Fields features(flags, "the features", 1);
    config.holes = features.flag(1);
    if (features.error()) return std::unexpected(*features.error());

    const ProtoMessage hashed = canonical(top.message());
    for (const bool cipher_first : {true, false}) {
        const auto hash = hash_of(hashed, cipher_first);
        config.v7.hashes.emplace_back(hash.begin(), hash.end());
    }
    return config;
}

std::string v7_config(const Config& config) {
    const auto number = [](std::uint32_t value) { return ProtoValue(std::uint64_t{value}); };
    ProtoMessage top;
    top.emplace(kKey, config.wrapped_key);
    top.emplace(kArgon2, write_proto({{1, config.salt},
                                      {2, number(config.v7.memory_kib)},
                                      {3, number(config.v7.passes)},
                                      {4, number(config.v7.lanes)}}));
    if (config.v7.seal != Seal::kNone && !config.v7.seal_as_mac) {
        top.emplace(kGcmSiv, write_proto({{1, number(config.key_bits)},
                                          {2, number(config.block_size)},
                                          {3, number(config.unique_iv)},
                                          {4, number(config.v7.seal == Seal::kIv96)}}));
    } else {
        const bool aes = config.cipher.name == "ssl/aes";
        top.emplace(kLegacy,
                    write_proto({{1, number(aes ? kAes : kBlowfish)},
                                 {2, number(config.key_bits)},
                                 {3, number(config.block_size)},
                                 {4, number(config.v7.seal_as_mac ? 16 : config.mac_bytes)},
                                 {6, number(config.unique_iv)}}));
    }
    const bool stream = config.naming.name == "nameio/stream";
    top.emplace(kNames, write_proto({{1, number(stream ? kStreamNames : kBlockNames)},
                                     {2, number(config.chained_names)},
                                     {3, number(config.external_iv)}}));
    top.emplace(kFlags, write_proto({{1, number(config.holes)}}));
    top.emplace(kReader, number(config.v7.reader_version));
    const auto hash = hash_of(top, true);
    top.emplace(kHash,
                config.v7.hash.empty() ? ByteVector(hash.begin(), hash.end()) : config.v7.hash);
    return std::string(kMagic) + std::string(text_of(write_proto(top)));
}

// ---- the key ----

namespace {

Result<crypto::Key256> v7_user_key(const Config& config, Bytes password) {
    const crypto::Argon2Cost cost{config.v7.memory_kib, config.v7.passes, config.v7.lanes};
    if (!crypto::argon2_cost_is_acceptable(cost)) {
        return fail(ErrorKind::kUnsupported,
                    fmt::format("Argon2id with {} KiB, {} passes and {} lanes", cost.memory_kib,
                                cost.passes, cost.lanes));
    }
    if (config.salt.size() < 16 || config.salt.size() > 64)
        return fail(ErrorKind::kDamaged, "its salt has a wrong size");
    crypto::Key256 key;
    auto derived = crypto::argon2id(password, config.salt, cost, key.mutable_bytes());
    if (!derived) return from_crypto(derived.error(), "key from the password");
    return key;
}

}  // namespace

Result<crypto::SecretBytes> unwrap_v7_key(const Config& config, std::size_t secret_size,
                                          Bytes password) {
    constexpr std::size_t kTag = crypto::kAeadTagSize;
    const Bytes wrapped(config.wrapped_key);
    if (wrapped.size() != kNonceSize + secret_size + kTag)
        return fail(ErrorKind::kDamaged, "the volume's key has not the size that its cipher takes");
    const auto key = v7_user_key(config, password);
    if (!key) return std::unexpected(key.error());
    auto aead = crypto::thread_aead(crypto::AeadKind::kAes256Gcm);
    if (!aead) return from_crypto(aead.error(), "volume key");
    if (auto set = (*aead)->set_key(key->bytes()); !set)
        return from_crypto(set.error(), "volume key");
    // As it was stored: that is what the key was sealed with. Else as it would be made.
    std::vector<ByteVector> hashes = config.v7.hashes;
    if (!config.v7.hash.empty()) hashes.insert(hashes.begin(), config.v7.hash);
    for (const ByteVector& hash : hashes) {
        crypto::SecretBytes secret(secret_size);
        const auto opened =
            (*aead)->open(wrapped.first(kNonceSize), hash, wrapped.subspan(kNonceSize, secret_size),
                          BytesN<kTag>(wrapped.last(kTag).data(), kTag), secret.mutable_bytes());
        if (opened) return secret;
        if (opened.error() != crypto::Error::kAuthentication)
            return from_crypto(opened.error(), "volume key");
    }
    return fail(ErrorKind::kWrongPassword, "the password does not open the volume's key");
}

Result<ByteVector> wrap_v7_key(const Config& config, Bytes nonce, Bytes password, Bytes secret) {
    if (nonce.size() != kNonceSize) return fail(ErrorKind::kBadParameter, "not a nonce");
    const auto key = v7_user_key(config, password);
    if (!key) return std::unexpected(key.error());
    auto aead = crypto::thread_aead(crypto::AeadKind::kAes256Gcm);
    if (!aead) return from_crypto(aead.error(), "volume key");
    if (auto set = (*aead)->set_key(key->bytes()); !set)
        return from_crypto(set.error(), "volume key");
    const auto parsed = parse_v7_config(bytes_of(v7_config(config)));
    if (!parsed) return std::unexpected(parsed.error());
    ByteVector wrapped(nonce.size() + secret.size() + crypto::kAeadTagSize);
    std::copy(nonce.begin(), nonce.end(), wrapped.begin());
    const MutBytes out = MutBytes(wrapped).subspan(nonce.size());
    // The nonce is unique to its key: that comes from a salt of its own.
    auto sealed = (*aead)->seal(nonce, parsed->v7.hash, secret, out.first(secret.size()),
                                MutBytesN<crypto::kAeadTagSize>(
                                    out.last(crypto::kAeadTagSize).data(), crypto::kAeadTagSize));
    if (!sealed) return from_crypto(sealed.error(), "volume key");
    return wrapped;
}

}  // namespace extencfs::legacy
