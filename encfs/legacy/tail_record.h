// SPDX-License-Identifier: Apache-2.0
// The last block of a file that is cut within it, and the journal that it is kept in meanwhile
// (FORMAT.md "Cutting files"). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "crypto/legacy_encfs.h"
#include "encfs/volume/error.h"

namespace extencfs::legacy {

using volume::Result;

struct TailRecord {
    std::vector<std::string> path;  // lower names from the root, the file's last
    std::uint64_t offset = 0;       // of the block below
    ByteVector block;               // as it will be; the file ends with it
};

// Ends with a MAC of all of it. ERRORS: kInternal.
Result<ByteVector> encode_tail(const TailRecord& record, const crypto::LegacyKey& key);
// ERRORS: kDamaged (also: empty), kInternal.
Result<TailRecord> decode_tail(Bytes bytes, const crypto::LegacyKey& key);

// No block of a configuration is larger; nor are paths.
constexpr std::size_t kMostTailBytes = std::size_t{2} << 20;

}  // namespace extencfs::legacy
