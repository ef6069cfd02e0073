// SPDX-License-Identifier: Apache-2.0
// Constants of volume format 1. Each cites its section in FORMAT.md; FORMAT.md changes first.
#pragma once

#include <cstddef>
#include <cstdint>

#include "crypto/bytes.h"

namespace extencfs::volume {

constexpr std::uint32_t kFormatVersion = 1;

// FORMAT.md "Contents".
constexpr std::size_t kBlockSize = 4096;        // plaintext bytes in a block
constexpr std::size_t kCipherBlockSize = 4160;  // lower bytes in a block
constexpr std::size_t kLowerPageSize = 4096;    // no fragment crosses a multiple of this
constexpr std::size_t kFileHeaderSize = 64;     // lower offset of block 0
constexpr std::size_t kFragmentNonceSize = 12;
constexpr std::size_t kFragmentWordSize = 4;  // used:12 | epoch:20, little endian
constexpr std::size_t kFragmentTagSize = 16;
constexpr std::size_t kFragmentOverhead = 32;
constexpr std::uint64_t kBlocksPerGroup = 64;  // share one group key
constexpr std::uint32_t kMaxEpoch = (1u << 20) - 1;
// The largest plaintext size a file can have, so that lower offsets fit a signed 64-bit number.
constexpr std::uint64_t kMaxFileSize = std::uint64_t{1} << 62;

// FORMAT.md "Directories".
constexpr std::size_t kDirFileSize = 96;

// FORMAT.md "Names".
constexpr std::size_t kMaxPlainName = 255;
constexpr std::size_t kMaxLowerName = 255;
constexpr std::size_t kNamePadding = 16;

// FORMAT.md "Reserved lower names". "." is in no encoding's alphabet.
inline constexpr const char* kReservedPrefix = "extencfs.";
inline constexpr const char* kConfigName = "extencfs.conf";
inline constexpr const char* kConfigBackupName = "extencfs.conf.bak";
inline constexpr const char* kConfigTempPrefix = "extencfs.conf.new.";
inline constexpr const char* kConfigOldPrefix = "extencfs.conf.old.";  // put aside
inline constexpr const char* kDirFileName = "extencfs.dir";
inline constexpr const char* kStateName = "extencfs.state";  // lock and clean/dirty mark
inline constexpr const char* kLongEntryPrefix = "extencfs.l.";
inline constexpr const char* kLongSidePrefix = "extencfs.n.";
inline constexpr const char* kTempPrefix = "extencfs.t.";
inline constexpr const char* kLongSymlinkDir = "extencfs.s";  // in the root only
// Of a migration in place (encfs/migrate/JOURNAL.md); in the root only. While the second is there
// the volume is in two formats.
inline constexpr const char* kMigrationPrefix = ".extencfs-migrat";
inline constexpr const char* kMigrationName = ".extencfs-migration";
// FORMAT.md "Rotation of keys"; in the root only.
inline constexpr const char* kRotationName = "extencfs.rotation";
inline constexpr const char* kRotationNewName = "extencfs.rotation.new";
inline constexpr const char* kRotationKeepPrefix = "extencfs.r.";

using FileId = ByteArray<16>;
using DirId = ByteArray<16>;

}  // namespace extencfs::volume
