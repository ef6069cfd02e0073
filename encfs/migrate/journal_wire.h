// SPDX-License-Identifier: Apache-2.0
// The bytes of the migration journal (JOURNAL.md). Pure: bytes in and bytes out.
#pragma once

#include <cstdint>
#include <optional>

#include "crypto/bytes.h"

namespace extencfs::migrate {

inline constexpr const char* kJournalName = "extencfs.migration";
inline constexpr const char* kJournalTempName = "extencfs.migration.new";

constexpr std::size_t kHeaderSize = 64;
constexpr std::size_t kRecordSize = 40;
constexpr std::uint32_t kJournalVersion = 1;

// Where the new volume lies.
enum class Form : std::uint32_t { kNewPlace = 0, kInPlace = 1 };

struct Header {
    std::uint32_t version = kJournalVersion;
    std::uint32_t form = static_cast<std::uint32_t>(Form::kNewPlace);
    std::uint64_t old_volume = 0;  // identity_of() the volume that is copied
    std::uint64_t salt = 0;        // makes the checks of this journal its own
};

enum class RecordType : std::uint32_t {
    kDone = 1,      // what lies at that inode of the old volume is in the new one, durable
    kComplete = 2,  // all is, but for `size` things that could not be read or kept
    // Of form kInPlace:
    kDirectory = 3,        // its modification time, and as `size` its mode
    kDirectoryAccess = 4,  // its access time
    kRemoving = 5,         // files of the old volume are removed from here on
    kMoving = 6,           // what was made goes up; `size` things are left in the old format
};

struct Record {
    std::uint32_t type = 0;
    std::uint32_t mtime_nsec = 0;
    std::uint64_t ino = 0;
    std::uint64_t size = 0;
    std::int64_t mtime_sec = 0;
    bool operator==(const Record&) const = default;
};

// FNV-1a, for what is no secret and has no enemy: torn writes, mixed-up volumes.
std::uint64_t identity_of(Bytes bytes);

ByteArray<kHeaderSize> encode_header(const Header& header);
// Nothing: not a header, or damaged.
std::optional<Header> decode_header(Bytes bytes);

ByteArray<kRecordSize> encode_record(const Record& record, std::uint64_t salt);
// Nothing: torn, or of another journal.
std::optional<Record> decode_record(BytesN<kRecordSize> bytes, std::uint64_t salt);

}  // namespace extencfs::migrate
