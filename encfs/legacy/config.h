// SPDX-License-Identifier: Apache-2.0
// The configuration of an EncFS 1.x volume (FORMAT.md "Configuration"): .encfs7, .encfs6.xml,
// .encfs5, .encfs4. Pure: bytes to structure and back; the caller reads and writes files. Nothing
// in it is authenticated: each value is somebody's word, and bounded here before anything is done
// with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/legacy_encfs.h"
#include "crypto/secret.h"
#include "encfs/legacy/layout.h"
#include "encfs/legacy/names.h"
#include "encfs/volume/error.h"

namespace extencfs::legacy {

enum class ConfigFormat : std::uint8_t { kV4, kV5, kV6, kV7 };

// An algorithm and the interface version with which the volume was made ("name major:minor").
struct Interface {
    std::string name;
    int major = 0;
    int minor = 0;
    int age = 0;  // in .encfs5 and .encfs4 only
};

// What .encfs7 has beside that.
struct ConfigV7 {
    Seal seal = Seal::kNone;                              // of blocks
    bool seal_as_mac = false;                             // told as a MAC of 16 bytes
    std::uint32_t memory_kib = 0, passes = 0, lanes = 0;  // of Argon2id
    std::uint32_t reader_version = 1;
    ByteVector hash;                 // of the rest, as stored; may be empty
    std::vector<ByteVector> hashes;  // as it can be made
};

// As it is written, before anything is concluded from it.
struct Config {
    ConfigFormat format = ConfigFormat::kV6;
    std::string creator;
    std::int64_t sub_version = 0;  // a date, as 20100713
    Interface cipher;
    Interface naming;
    std::uint32_t key_bits = 0;
    std::uint32_t block_size = 0;
    bool plain_data = false;
    bool unique_iv = false;
    bool chained_names = false;
    bool external_iv = false;
    bool holes = false;
    std::uint32_t mac_bytes = 0;
    std::uint32_t random_bytes = 0;
    ByteVector wrapped_key;
    ByteVector salt;               // empty: the key comes from the password without one
    std::uint32_t iterations = 0;  // of PBKDF2
    std::uint32_t kdf_ms = 0;      // what the iterations were measured for; tells nothing else
    ConfigV7 v7;                   // in .encfs7 only
};

// A text above this is none that any EncFS wrote.
constexpr std::size_t kMostConfigBytes = 1 << 20;

// ERRORS: kDamaged (not in that form, a member missing or out of range: named), kUnsupported (a
// version, named).
Result<Config> parse_config(ConfigFormat format, Bytes text);
// As EncFS 1.9.5 writes it. REQUIRES: a configuration that parse_config or a check has accepted.
std::string serialize_config(const Config& config);

// What follows from a configuration.
struct Parameters {
    crypto::LegacyCipherSpec cipher;
    NameCoding names;
    ContentLayout contents;
    bool path_in_header = false;  // a file's header depends on its path ("external IV chaining")
    bool v7 = false;              // symlinks, attributes and sealed blocks are those of EncFS 2
};

// ERRORS: kUnsupported (an algorithm or its version: named), kDamaged (sizes that do not fit).
Result<Parameters> parameters_of(const Config& config);

// Whether these bytes begin like .encfs7.
bool looks_like_v7(Bytes bytes);

// The key of the volume, kept under one from the password. ERRORS of both: kInternal;
// unwrap: kWrongPassword, kDamaged (its size).
enum class KeyCheck : std::uint8_t { kChecked, kAnyKey };
Result<crypto::SecretBytes> unwrap_key(const Config& config, const Parameters& parameters,
                                       Bytes password, KeyCheck check);
// Not of .encfs7: kUnsupported.
Result<ByteVector> wrap_key(const Config& config, const Parameters& parameters, Bytes password,
                            Bytes secret);

}  // namespace extencfs::legacy
