// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/name_codec.h"

#include <utility>

#include "crypto/encoding.h"
#include "crypto/kdf.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/padded_siv.h"

namespace extencfs::volume {
namespace {

constexpr std::string_view kLongEntry = kLongEntryPrefix;
constexpr std::string_view kLongSide = kLongSidePrefix;

std::string to_text(NameEncoding encoding, Bytes bytes) {
    return encoding == NameEncoding::kBase64Url ? crypto::base64url_encode(bytes)
                                                : crypto::base32hex_encode(bytes);
}

crypto::Result<ByteVector> from_text(NameEncoding encoding, std::string_view text) {
    return encoding == NameEncoding::kBase64Url ? crypto::base64url_decode(text)
                                                : crypto::base32hex_decode(text);
}

constexpr std::size_t text_size(NameEncoding encoding, std::size_t bytes) {
    return encoding == NameEncoding::kBase64Url ? (bytes * 4 + 2) / 3 : (bytes * 8 + 4) / 5;
}

bool fits_entry(NameEncoding encoding, std::size_t sealed_size) {
    return text_size(encoding, sealed_size) <= kMaxLowerName;
}

std::string hash_text(NameEncoding encoding, Bytes sealed) {
    ByteArray<32> hash;
    crypto::hash256(sealed, hash);
    return to_text(encoding, hash);
}

bool is_entry_name(std::string_view name) {
    return !name.empty() && name != "." && name != ".." &&
           name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos;
}

// What was sealed by us is a possible name; a key holder who sealed another must not make us hand
// "../x" to the kernel.
Result<std::string> as_entry_name(Result<std::string> name) {
    if (name && !is_entry_name(*name)) return fail(ErrorKind::kDamaged, "name: not an entry name");
    return name;
}

}  // namespace

NameCodec::NameCodec(crypto::NameCipher cipher, NameEncoding encoding)
    : cipher_(std::move(cipher)), encoding_(encoding) {}

Result<NameCodec> NameCodec::create(BytesN<64> names_key, NameEncoding encoding) {
    auto cipher = crypto::NameCipher::create(names_key);
    if (!cipher) return from_crypto(cipher.error(), "name cipher");
    return NameCodec(std::move(*cipher), encoding);
}

Result<LowerName> NameCodec::encode(const DirId& dir, std::string_view plain) const {
    if (plain.size() > kMaxPlainName) return fail(ErrorKind::kTooLong, "name: above 255 bytes");
    if (!is_entry_name(plain)) return fail(ErrorKind::kBadParameter, "name: not an entry name");
    auto sealed = seal_padded(cipher_, dir, plain);
    if (!sealed) return std::unexpected(sealed.error());
    if (fits_entry(encoding_, sealed->size())) {
        return LowerName{.entry = to_text(encoding_, *sealed), .side_name = {}, .side_bytes = {}};
    }
    const std::string hash = hash_text(encoding_, *sealed);
    return LowerName{.entry = std::string(kLongEntry) + hash,
                     .side_name = std::string(kLongSide) + hash,
                     .side_bytes = std::move(*sealed)};
}

Result<std::string> NameCodec::decode(const DirId& dir, std::string_view entry) const {
    if (entry.size() > kMaxLowerName || entry.find('.') != std::string_view::npos) {
        return fail(ErrorKind::kNotVolumeName, "name: reserved or foreign");
    }
    const auto sealed = from_text(encoding_, entry);
    if (!sealed || sealed->size() < padded_siv_size(1) || sealed->size() % kNamePadding != 0) {
        return fail(ErrorKind::kNotVolumeName, "name: reserved or foreign");
    }
    return as_entry_name(open_padded(cipher_, dir, *sealed));
}

bool NameCodec::is_long_entry(std::string_view entry) {
    return entry.starts_with(kLongEntry);
}

std::string NameCodec::side_name_of(std::string_view long_entry) {
    return std::string(kLongSide) + std::string(long_entry.substr(kLongEntry.size()));
}

Result<std::string> NameCodec::decode_long(const DirId& dir, std::string_view long_entry,
                                           Bytes side_bytes) const {
    if (!is_long_entry(long_entry)) {
        return fail(ErrorKind::kNotVolumeName, "name: not a long entry");
    }
    if (side_bytes.size() > padded_siv_size(kMaxPlainName)) {
        return fail(ErrorKind::kDamaged, "long name: wrong length of the side file");
    }
    // A short name has one lower name, and it is not a long one.
    if (fits_entry(encoding_, side_bytes.size()) ||
        long_entry.substr(kLongEntry.size()) != hash_text(encoding_, side_bytes)) {
        return fail(ErrorKind::kDamaged, "long name: the side file is not this entry's");
    }
    return as_entry_name(open_padded(cipher_, dir, side_bytes));
}

}  // namespace extencfs::volume
