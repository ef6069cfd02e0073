// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/journal_wire.h"

#include <algorithm>
#include <string_view>

namespace extencfs::migrate {
namespace {

constexpr std::string_view kMagic = "XCFSMIGR";
constexpr std::uint64_t kFnvBasis = 0xcbf29ce484222325;
constexpr std::uint64_t kFnvPrime = 0x100000001b3;

std::uint64_t fnv1a(Bytes bytes, std::uint64_t hash) {
    for (const std::byte byte : bytes) {
        hash ^= std::to_integer<std::uint64_t>(byte);
        hash *= kFnvPrime;
    }
    return hash;
}

// Little endian.
template <typename Number>
void put(MutBytes out, std::size_t at, Number number) {
    auto rest = static_cast<std::uint64_t>(number);
    for (std::size_t i = 0; i < sizeof(Number); ++i, rest >>= 8) {
        out[at + i] = static_cast<std::byte>(rest & 0xff);
    }
}

template <typename Number>
Number get(Bytes in, std::size_t at) {
    std::uint64_t number = 0;
    for (std::size_t i = sizeof(Number); i-- > 0;) {
        number = number << 8 | std::to_integer<std::uint64_t>(in[at + i]);
    }
    return static_cast<Number>(number);
}

}  // namespace

std::uint64_t identity_of(Bytes bytes) {
    return fnv1a(bytes, kFnvBasis);
}

ByteArray<kHeaderSize> encode_header(const Header& header) {
    ByteArray<kHeaderSize> out{};
    std::ranges::copy(bytes_of(kMagic), out.begin());
    put(out, 8, header.version);
    put(out, 12, header.form);
    put(out, 16, header.old_volume);
    put(out, 24, header.salt);
    put(out, 56, fnv1a(Bytes(out).first(56), kFnvBasis));
    return out;
}

std::optional<Header> decode_header(Bytes bytes) {
    if (bytes.size() < kHeaderSize || text_of(bytes.first(kMagic.size())) != kMagic)
        return std::nullopt;
    if (get<std::uint64_t>(bytes, 56) != fnv1a(bytes.first(56), kFnvBasis)) return std::nullopt;
    return Header{.version = get<std::uint32_t>(bytes, 8),
                  .form = get<std::uint32_t>(bytes, 12),
                  .old_volume = get<std::uint64_t>(bytes, 16),
                  .salt = get<std::uint64_t>(bytes, 24)};
}

ByteArray<kRecordSize> encode_record(const Record& record, std::uint64_t salt) {
    ByteArray<kRecordSize> out{};
    put(out, 0, record.type);
    put(out, 4, record.mtime_nsec);
    put(out, 8, record.ino);
    put(out, 16, record.size);
    put(out, 24, record.mtime_sec);
    put(out, 32, fnv1a(Bytes(out).first(32), kFnvBasis ^ salt));
    return out;
}

std::optional<Record> decode_record(BytesN<kRecordSize> bytes, std::uint64_t salt) {
    if (get<std::uint64_t>(bytes, 32) != fnv1a(bytes.first(32), kFnvBasis ^ salt))
        return std::nullopt;
    return Record{.type = get<std::uint32_t>(bytes, 0),
                  .mtime_nsec = get<std::uint32_t>(bytes, 4),
                  .ino = get<std::uint64_t>(bytes, 8),
                  .size = get<std::uint64_t>(bytes, 16),
                  .mtime_sec = get<std::int64_t>(bytes, 24)};
}

}  // namespace extencfs::migrate
