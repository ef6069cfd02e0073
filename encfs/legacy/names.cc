// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/names.h"

#include <algorithm>
#include <utility>

#include "encfs/legacy/alphabet.h"
#include "encfs/volume/crypto_errors.h"

namespace extencfs::legacy {

namespace {

using volume::fail;
using volume::from_crypto;

constexpr std::size_t kMacSize = 2;
constexpr char kAbsolute = '+';  // before the code of an absolute target

std::unexpected<Error> foreign(const char* why) {
    return fail(ErrorKind::kNotVolumeName, why);
}

bool is_dots(std::string_view name) {
    return name == "." || name == "..";
}

// What a directory may hold, "." and ".." included.
bool is_component(std::string_view name) {
    return !name.empty() &&
           name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
}

Alphabet alphabet_of(NameScheme scheme) {
    return scheme == NameScheme::kBlock32 ? Alphabet::kBase32 : Alphabet::kBase64;
}

// Removes the padding of whole blocks. False if it is none.
bool strip_padding(ByteVector& data, std::size_t block) {
    const std::byte last = data.back();
    const auto count = static_cast<std::size_t>(last);
    if (count < 1 || count > block || count > data.size()) return false;
    const auto end = data.end() - static_cast<std::ptrdiff_t>(count);
    if (!std::all_of(end, data.end(), [&](std::byte byte) { return byte == last; })) return false;
    data.erase(end, data.end());
    return true;
}

}  // namespace

NameCodec::NameCodec(std::shared_ptr<const crypto::LegacyKey> key, NameCoding coding)
    : key_(std::move(key)), coding_(coding) {}

// The first releases of each scheme left the directory out of it.
std::uint64_t NameCodec::seed(std::uint16_t mac, Chain chain) const {
    const int since = coding_.scheme == NameScheme::kStream ? 2 : 3;
    return mac ^ (coding_.major >= since ? chain.value_or(0) : 0);
}

// ---- one name ----

Result<ByteVector> NameCodec::seal(Bytes data, std::uint16_t mac, Chain chain) const {
    const bool stream = coding_.scheme == NameScheme::kStream;
    const bool mac_first = !stream || coding_.major >= 1;
    ByteVector raw(kMacSize + data.size());
    const MutBytes whole(raw);
    const MutBytes body = whole.subspan(mac_first ? kMacSize : 0, data.size());
    std::copy(data.begin(), data.end(), body.begin());
    const auto sealed = stream ? key_->encode_stream(body, seed(mac, chain))
                               : key_->encode_blocks(body, seed(mac, chain));
    if (!sealed) return from_crypto(sealed.error(), "name");
    const MutBytes at = mac_first ? whole.first(kMacSize) : whole.last(kMacSize);
    at[0] = static_cast<std::byte>(mac >> 8);
    at[1] = static_cast<std::byte>(mac);
    return raw;
}

// The bytes under the MAC, padding included, and the whole MAC of them.
Result<ByteVector> NameCodec::open(Bytes raw, Chain chain, std::uint64_t& mac) const {
    const bool stream = coding_.scheme == NameScheme::kStream;
    const bool mac_first = !stream || coding_.major >= 1;
    if (raw.size() <= kMacSize) return foreign("too short");
    const Bytes at = mac_first ? raw.first(kMacSize) : raw.last(kMacSize);
    const Bytes body = raw.subspan(mac_first ? kMacSize : 0, raw.size() - kMacSize);
    if (!stream && body.size() % key_->block_size() != 0) return foreign("no whole blocks");
    const auto stored = static_cast<std::uint16_t>(static_cast<unsigned>(at[0]) << 8 |
                                                   static_cast<unsigned>(at[1]));
    ByteVector data(body.begin(), body.end());
    const auto opened = stream ? key_->decode_stream(data, seed(stored, chain))
                               : key_->decode_blocks(data, seed(stored, chain));
    if (!opened) return from_crypto(opened.error(), "name");
    const auto found = key_->mac64(data, chain);
    if (!found) return from_crypto(found.error(), "name");
    if (crypto::fold16(*found) != stored) return foreign("the MAC does not match");
    mac = *found;
    return data;
}

Result<ChainedName> NameCodec::encode_any(std::string_view plain, Chain chain) const {
    if (coding_.scheme == NameScheme::kNull) return ChainedName{std::string(plain), 0};
    const Bytes bytes = bytes_of(plain);
    ByteVector data(bytes.begin(), bytes.end());
    if (coding_.scheme != NameScheme::kStream) {
        const std::size_t padding = key_->block_size() - data.size() % key_->block_size();
        data.resize(data.size() + padding, static_cast<std::byte>(padding));
    }
    const auto mac = key_->mac64(data, chain);
    if (!mac) return from_crypto(mac.error(), "name");
    const auto raw = seal(data, crypto::fold16(*mac), chain);
    if (!raw) return std::unexpected(raw.error());
    return ChainedName{to_digits(*raw, alphabet_of(coding_.scheme)), coding_.chained ? *mac : 0};
}

Result<ChainedName> NameCodec::decode_any(std::string_view entry, Chain chain) const {
    if (coding_.scheme == NameScheme::kNull) return ChainedName{std::string(entry), 0};
    const auto raw = from_digits(entry, alphabet_of(coding_.scheme));
    if (!raw) return foreign("a character that no name has");
    std::uint64_t mac = 0;
    auto data = open(*raw, chain, mac);
    if (!data) return std::unexpected(data.error());
    if (coding_.scheme != NameScheme::kStream && !strip_padding(*data, key_->block_size()))
        return foreign("the padding is wrong");
    ChainedName name{std::string(text_of(*data)), coding_.chained ? mac : 0};
    // One spelling for each name. Of two entries that show as one, only this is found by its name.
    const auto again = encode_any(name.text, chain);
    if (!again) return std::unexpected(again.error());
    if (again->text != entry) return foreign("another spelling");
    return name;
}

Result<ChainedName> NameCodec::encode(std::string_view plain, std::uint64_t chain) const {
    if (!is_component(plain)) return fail(ErrorKind::kBadParameter, "not a name");
    if (is_dots(plain)) return ChainedName{std::string(plain), chain};
    return encode_any(plain, chain_of(chain));
}

Result<ChainedName> NameCodec::decode(std::string_view entry, std::uint64_t chain) const {
    if (entry.empty()) return foreign("empty");
    if (is_dots(entry)) return ChainedName{std::string(entry), chain};
    auto name = decode_any(entry, chain_of(chain));
    // A forged one could lead out of its directory.
    if (name && (is_dots(name->text) || !is_component(name->text))) return foreign("not a name");
    return name;
}

bool NameCodec::is_spelled(std::string_view entry) const {
    if (coding_.scheme == NameScheme::kNull) return true;
    const Alphabet alphabet = alphabet_of(coding_.scheme);
    const auto raw = from_digits(entry, alphabet);
    if (!raw || raw->size() <= kMacSize || to_digits(*raw, alphabet).size() != entry.size())
        return false;
    return coding_.scheme == NameScheme::kStream ||
           (raw->size() - kMacSize) % key_->block_size() == 0;
}

// ---- symlink targets ----

Result<std::string> NameCodec::each_component(std::string_view path, Code code) const {
    std::string out;
    std::uint64_t chain = 0;
    while (!path.empty()) {
        const std::size_t end = std::min(path.find('/'), path.size());
        if (end > 0) {
            const auto part = (this->*code)(path.substr(0, end), chain);
            if (!part) return std::unexpected(part.error());
            out += part->text;
            chain = part->chain;
        }
        if (end < path.size()) out += '/';
        path.remove_prefix(std::min(end + 1, path.size()));
    }
    return out;
}

Result<std::string> NameCodec::encode_target(std::string_view plain) const {
    if (plain.empty() || plain.find('\0') != std::string_view::npos)
        return fail(ErrorKind::kBadParameter, "not a target");
    if (plain.front() != '/') {
        auto relative = each_component(plain, &NameCodec::encode);
        // Of names that are not coded: it would be read as an absolute one.
        if (relative && relative->front() == kAbsolute)
            return fail(ErrorKind::kBadParameter, "names without coding cannot hold this target");
        return relative;
    }
    const std::string_view rest = plain.substr(1);
    // "/" alone: EncFS could only pad it.
    if (rest.empty() && coding_.scheme == NameScheme::kStream)
        return fail(ErrorKind::kBadParameter, "stream names cannot hold this target");
    const auto code = encode_any(rest, Chain());
    if (!code) return std::unexpected(code.error());
    return kAbsolute + code->text;
}

Result<std::string> NameCodec::encode_target(std::string_view plain, std::uint64_t chain) const {
    if (plain.empty() || plain.find('\0') != std::string_view::npos)
        return fail(ErrorKind::kBadParameter, "not a target");
    auto code = encode_any(plain, chain_of(chain));
    if (!code) return std::unexpected(code.error());
    return std::move(code->text);
}

Result<std::string> NameCodec::decode_target(std::string_view lower, std::uint64_t chain) const {
    auto plain = decode_any(lower, chain_of(chain));
    if (!plain) return std::unexpected(plain.error());
    if (plain->text.empty() || plain->text.find('\0') != std::string::npos)
        return foreign("not a target");
    return std::move(plain->text);
}

Result<std::string> NameCodec::decode_target(std::string_view lower) const {
    if (lower.empty()) return foreign("no target");
    if (lower.front() != kAbsolute) return each_component(lower, &NameCodec::decode);
    const std::string_view code = lower.substr(1);
    const auto rest = decode_any(code, Chain());
    if (!rest) return std::unexpected(rest.error());
    if (rest->text.find('\0') != std::string::npos) return foreign("not a target");
    return "/" + rest->text;
}

}  // namespace extencfs::legacy
