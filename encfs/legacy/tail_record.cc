// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/tail_record.h"

#include "encfs/legacy/journal_wire.h"

namespace extencfs::legacy {

namespace {
constexpr std::string_view kMagic = "extencfs tail 1\n";
}  // namespace

Result<ByteVector> encode_tail(const TailRecord& record, const crypto::LegacyKey& key) {
    JournalWriter out;
    out.raw(bytes_of(kMagic));
    out.texts(record.path);
    out.number(record.offset);
    out.bytes(record.block);
    return close_journal(out.take(), key);
}

Result<TailRecord> decode_tail(Bytes bytes, const crypto::LegacyKey& key) {
    const auto body = open_journal(bytes, kMagic, key);
    if (!body) return std::unexpected(body.error());
    JournalReader in(*body);
    TailRecord record;
    record.path = in.texts();
    record.offset = in.number<std::uint64_t>();
    const Bytes block = in.bytes(kMostTailBytes);
    record.block.assign(block.begin(), block.end());
    constexpr std::uint64_t kMostOffset = std::uint64_t{1} << 62;
    if (!in.at_end() || record.path.empty() || record.offset > kMostOffset)
        return volume::fail(volume::ErrorKind::kDamaged, "the journal of a file's end is none");
    return record;
}

}  // namespace extencfs::legacy
