// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/dir_file.h"

#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/wire.h"

namespace extencfs::volume {
namespace {

// FORMAT.md "Directories".
constexpr std::string_view kMagic = "EXTD";
constexpr std::uint8_t kVersion = 1;
constexpr std::size_t kVersionAt = 4;
constexpr std::size_t kFlagsAt = 5;  // three bytes, zero
constexpr std::size_t kGenerationAt = 8;
constexpr std::size_t kNextGenerationAt = 12;
constexpr std::size_t kIdAt = 16;
constexpr std::size_t kHereAt = 32;
constexpr std::size_t kNextAt = 48;
constexpr std::size_t kReservedAt = 64;  // sixteen bytes, zero
constexpr std::size_t kMacAt = 80;

Result<void> check_start(Bytes in) {
    if (text_of(in.first(kMagic.size())) != kMagic) {
        return fail(ErrorKind::kDamaged, "directory id file: not one of this volume");
    }
    if (get_le<std::uint8_t>(in, kVersionAt) != kVersion) {
        return fail(ErrorKind::kUnsupported, "directory id file: unknown version");
    }
    return {};
}

}  // namespace

Binding bind_place(BytesN<32> bind_key, const DirId& parent, std::string_view entry) {
    Binding binding;
    crypto::mac128(bind_key, join(parent, bytes_of(entry)), binding);
    return binding;
}

void encode_dir_file(const DirFile& dir, BytesN<32> mac_key, MutBytesN<kDirFileSize> out) {
    std::fill(out.begin(), out.end(), std::byte{0});
    put_bytes(out, 0, bytes_of(kMagic));
    put_le<std::uint8_t>(out, kVersionAt, kVersion);
    put_le(out, kGenerationAt, dir.key_generation);
    put_le(out, kNextGenerationAt, dir.next_generation);
    put_bytes(out, kIdAt, dir.id);
    put_bytes(out, kHereAt, dir.here);
    put_bytes(out, kNextAt, dir.next);
    crypto::mac128(mac_key, out.first<kMacAt>(), out.last<16>());
}

Result<DirFile> decode_dir_file(BytesN<kDirFileSize> in, BytesN<32> mac_key) {
    if (auto start = check_start(in); !start) return std::unexpected(start.error());
    ByteArray<16> mac;
    crypto::mac128(mac_key, in.first<kMacAt>(), mac);
    if (!crypto::equal_constant_time(mac, in.last<16>())) {
        return fail(ErrorKind::kDamaged, "directory id file: authentication failed");
    }
    if (!all_zero(in.subspan(kFlagsAt, kGenerationAt - kFlagsAt)) ||
        !all_zero(in.subspan(kReservedAt, kMacAt - kReservedAt))) {
        return fail(ErrorKind::kUnsupported, "directory id file: unknown flag");
    }
    return DirFile{
        .key_generation = get_le<std::uint32_t>(in, kGenerationAt),
        .next_generation = get_le<std::uint32_t>(in, kNextGenerationAt),
        .id = get_bytes<16>(in, kIdAt),
        .here = get_bytes<16>(in, kHereAt),
        .next = get_bytes<16>(in, kNextAt),
    };
}

Result<std::uint32_t> peek_dir_generation(BytesN<kDirFileSize> in) {
    if (auto start = check_start(in); !start) return std::unexpected(start.error());
    return get_le<std::uint32_t>(in, kGenerationAt);
}

}  // namespace extencfs::volume
