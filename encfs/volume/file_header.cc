// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/file_header.h"

#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/wire.h"

namespace extencfs::volume {
namespace {

// FORMAT.md "File header".
constexpr std::string_view kMagic = "EXTF";
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kVersionAt = 4;
constexpr std::size_t kCipherAt = 5;
constexpr std::size_t kFlagsAt = 6;
constexpr std::size_t kGenerationAt = 8;
constexpr std::size_t kEpochAt = 12;
constexpr std::size_t kSizeAt = 16;
constexpr std::size_t kIdAt = 24;
constexpr std::size_t kCutAt = 40;
constexpr std::size_t kReservedAt = 44;
constexpr std::size_t kMacAt = 48;
constexpr std::uint16_t kFlagSparse = 1;

Result<void> check_start(Bytes in) {
    if (text_of(in.first(kMagic.size())) != kMagic) {
        return fail(ErrorKind::kDamaged, "file header: not a file of this volume");
    }
    if (get_le<std::uint8_t>(in, kVersionAt) != kVersion) {
        return fail(ErrorKind::kUnsupported, "file header: unknown version");
    }
    return {};
}

Result<FileHeader> check_values(FileHeader header, std::uint16_t flags, std::uint32_t reserved) {
    if (header.cipher != crypto::AeadKind::kAes256Gcm &&
        header.cipher != crypto::AeadKind::kXChaCha20Poly1305) {
        return fail(ErrorKind::kUnsupported, "file header: unknown cipher");
    }
    if ((flags & ~kFlagSparse) != 0 || reserved != 0) {
        return fail(ErrorKind::kUnsupported, "file header: unknown flag");
    }
    if (header.epoch > kMaxEpoch || header.size > kMaxFileSize) {
        return fail(ErrorKind::kDamaged, "file header: value out of range");
    }
    return header;
}

}  // namespace

void encode_header(const FileHeader& header, BytesN<32> header_key,
                   MutBytesN<kFileHeaderSize> out) {
    put_bytes(out, 0, bytes_of(kMagic));
    put_le<std::uint8_t>(out, kVersionAt, kVersion);
    put_le(out, kCipherAt, static_cast<std::uint8_t>(header.cipher));
    put_le<std::uint16_t>(out, kFlagsAt, header.sparse ? kFlagSparse : 0);
    put_le(out, kGenerationAt, header.key_generation);
    put_le(out, kEpochAt, header.epoch);
    put_le(out, kSizeAt, header.size);
    put_bytes(out, kIdAt, header.id);
    put_le(out, kCutAt, header.cut);
    put_le<std::uint32_t>(out, kReservedAt, 0);
    crypto::mac128(header_key, out.first<kMacAt>(), out.last<16>());
}

Result<FileHeader> decode_header(BytesN<kFileHeaderSize> in, BytesN<32> header_key) {
    if (auto start = check_start(in); !start) return std::unexpected(start.error());
    ByteArray<16> mac;
    crypto::mac128(header_key, in.first<kMacAt>(), mac);
    if (!crypto::equal_constant_time(mac, in.last<16>())) {
        return fail(ErrorKind::kDamaged, "file header: authentication failed");
    }
    const auto flags = get_le<std::uint16_t>(in, kFlagsAt);
    FileHeader header{
        .cipher = static_cast<crypto::AeadKind>(get_le<std::uint8_t>(in, kCipherAt)),
        .sparse = (flags & kFlagSparse) != 0,
        .key_generation = get_le<std::uint32_t>(in, kGenerationAt),
        .epoch = get_le<std::uint32_t>(in, kEpochAt),
        .size = get_le<std::uint64_t>(in, kSizeAt),
        .id = get_bytes<16>(in, kIdAt),
        .cut = get_le<std::uint32_t>(in, kCutAt),
    };
    return check_values(header, flags, get_le<std::uint32_t>(in, kReservedAt));
}

Result<std::uint32_t> peek_generation(BytesN<kFileHeaderSize> in) {
    if (auto start = check_start(in); !start) return std::unexpected(start.error());
    return get_le<std::uint32_t>(in, kGenerationAt);
}

}  // namespace extencfs::volume
