// SPDX-License-Identifier: Apache-2.0
// Names and symlink targets of EncFS 1.x volumes (FORMAT.md "Names"). Pure: text to text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "crypto/legacy_encfs.h"
#include "encfs/volume/error.h"

namespace extencfs::legacy {

using volume::Error;
using volume::ErrorKind;
using volume::Result;

enum class NameScheme : std::uint8_t { kStream, kBlock, kBlock32, kNull };

struct NameCoding {
    NameScheme scheme = NameScheme::kBlock;
    int major = 4;        // of the interface: stream 0 to 2, block and block32 2 to 4, null 1
    bool chained = true;  // a name depends on the names of the directories above it
    // EncFS 2: without chaining too there is a chain value in each MAC, which is 0; a symlink's
    // target is one name.
    bool v7 = false;
};

// A name, in either form, with the chain value for what lies below it.
struct ChainedName {
    std::string text;
    std::uint64_t chain = 0;
};

// THREADS: any, in parallel.
class NameCodec {
  public:
    NameCodec(std::shared_ptr<const crypto::LegacyKey> key, NameCoding coding);

    // `chain`: of the directory, 0 in the root. Where names are not chained it has no meaning, and
    // the result's is 0. "." and ".." stay as they are, with the directory's own chain value.
    // ERRORS: kBadParameter (empty, '/', NUL), kInternal. Any length: the file system below
    // decides what is too long.
    Result<ChainedName> encode(std::string_view plain, std::uint64_t chain) const;
    // ERRORS: kNotVolumeName (alphabet, length, padding or MAC wrong, or not the spelling that
    // encode gives: a foreign file, one moved here from elsewhere, a conflict copy), kInternal.
    Result<ChainedName> decode(std::string_view entry, std::uint64_t chain) const;

    // Whether an entry looks like a name, of whatever directory: its digits and its length. False:
    // it is somebody else's.
    bool is_spelled(std::string_view entry) const;

    // A relative target is coded component by component from the root's chain value, wherever the
    // link is; an absolute one as a whole and without a chain. ERRORS: as above.
    Result<std::string> encode_target(std::string_view plain) const;
    Result<std::string> decode_target(std::string_view lower) const;

    // Of EncFS 2: as a name in a directory of that chain value, which is that of the link's name.
    Result<std::string> encode_target(std::string_view plain, std::uint64_t chain) const;
    Result<std::string> decode_target(std::string_view lower, std::uint64_t chain) const;

    const NameCoding& coding() const { return coding_; }

  private:
    using Chain = std::optional<std::uint64_t>;  // none: nothing is hashed for it
    using Code = Result<ChainedName> (NameCodec::*)(std::string_view, std::uint64_t) const;

    Chain chain_of(std::uint64_t value) const {
        if (coding_.chained) return value;
        return coding_.v7 ? Chain(0) : Chain();
    }
    std::uint64_t seed(std::uint16_t mac, Chain chain) const;
    Result<ChainedName> encode_any(std::string_view plain, Chain chain) const;
    Result<ChainedName> decode_any(std::string_view entry, Chain chain) const;
    Result<ByteVector> seal(Bytes data, std::uint16_t mac, Chain chain) const;
    Result<ByteVector> open(Bytes raw, Chain chain, std::uint64_t& mac) const;
    Result<std::string> each_component(std::string_view path, Code code) const;

    std::shared_ptr<const crypto::LegacyKey> key_;
    NameCoding coding_;
};

}  // namespace extencfs::legacy
