// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/xattr_codec.h"

#include <utility>

#include "crypto/encoding.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/padded_siv.h"
#include "encfs/volume/sealed_box.h"
#include "encfs/volume/wire.h"

namespace extencfs::volume {
namespace {

constexpr std::string_view kPrefix = kXattrPrefix;
constexpr std::size_t kMaxLowerXattrName = 255;  // XATTR_NAME_MAX of Linux
// Longest name whose sealed form fits: 14 + base64url(16 + 160) = 249.
constexpr std::size_t kMaxPlainXattrName = 160;
static_assert(kPrefix.size() + (padded_siv_size(kMaxPlainXattrName) * 4 + 2) / 3 <=
                  kMaxLowerXattrName &&
              kPrefix.size() + (padded_siv_size(kMaxPlainXattrName + 1) * 4 + 2) / 3 >
                  kMaxLowerXattrName);

// owner id || plain name.
ByteVector value_aad(BytesN<16> owner, std::string_view name) {
    return join(owner, bytes_of(name));
}

}  // namespace

XattrCodec::XattrCodec(crypto::NameCipher names, BytesN<32> value_key)
    : names_(std::move(names)), value_key_(value_key) {}

Result<XattrCodec> XattrCodec::create(BytesN<64> name_key, BytesN<32> value_key) {
    auto names = crypto::NameCipher::create(name_key);
    if (!names) return from_crypto(names.error(), "xattr name cipher");
    return XattrCodec(std::move(*names), value_key);
}

Result<std::string> XattrCodec::encode_name(BytesN<16> owner, std::string_view name) const {
    if (name.size() > kMaxPlainXattrName) {
        return fail(ErrorKind::kTooLong, "xattr name: above 160 bytes");
    }
    if (name.empty() || name.find('\0') != std::string_view::npos) {
        return fail(ErrorKind::kBadParameter, "xattr name: empty or with a NUL");
    }
    auto sealed = seal_padded(names_, owner, name);
    if (!sealed) return std::unexpected(sealed.error());
    return std::string(kPrefix) + crypto::base64url_encode(*sealed);
}

Result<std::string> XattrCodec::decode_name(BytesN<16> owner, std::string_view lower_name) const {
    if (!lower_name.starts_with(kPrefix) || lower_name.size() > kMaxLowerXattrName) {
        return fail(ErrorKind::kNotVolumeName, "xattr name: not one of this volume");
    }
    const auto sealed = crypto::base64url_decode(lower_name.substr(kPrefix.size()));
    if (!sealed || sealed->size() < padded_siv_size(1) || sealed->size() % kNamePadding != 0) {
        return fail(ErrorKind::kNotVolumeName, "xattr name: not one of this volume");
    }
    return open_padded(names_, owner, *sealed);
}

Result<ByteVector> XattrCodec::seal_value(BytesN<16> owner, std::string_view name,
                                          Bytes value) const {
    return seal_box(value_key_.bytes(), value_aad(owner, name), value, "xattr value");
}

Result<ByteVector> XattrCodec::open_value(BytesN<16> owner, std::string_view name,
                                          Bytes sealed) const {
    static_assert(kValueOverhead == kBoxOverhead);
    if (sealed.size() < kBoxOverhead) {
        return fail(ErrorKind::kDamaged, "xattr value: wrong length");
    }
    ByteVector value(sealed.size() - kBoxOverhead);
    auto opened =
        open_box(value_key_.bytes(), value_aad(owner, name), sealed, value, "xattr value");
    if (!opened) return std::unexpected(opened.error());
    return value;
}

}  // namespace extencfs::volume
