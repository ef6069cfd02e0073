// SPDX-License-Identifier: Apache-2.0
// Key derivation: every derived key names its purpose, from the one list here.
// BLAKE2b (RFC 7693) keyed with the parent key, the purpose in the personalisation field.
#pragma once

#include "crypto/bytes.h"
#include "crypto/error.h"
#include "crypto/secret.h"

namespace extencfs::crypto {

// Never renumber or reuse: the label of each is part of the on-disk format (FORMAT.md, Keys).
enum class KeyPurpose : std::uint8_t {
    kConfigMac,       // volume key -> MAC of the configuration
    kGenerationWrap,  // volume key -> wraps generation keys
    kContent,         // generation key -> content root
    kHeader,          // generation key -> file header MAC
    kNames,           // generation key -> AES-SIV key of names (64 bytes)
    kDirectoryMac,    // generation key -> MAC of directory id files
    kDirectoryBind,   // generation key -> binding of a directory to its place
    kXattr,           // generation key -> xattr values
    kXattrName,       // generation key -> AES-SIV key of xattr names (64 bytes)
    kSymlink,         // generation key -> symlink targets
    kFile,            // content root -> file key (context: file id, cut, cipher)
    kBlockGroup,      // file key -> key of a group of blocks (context: group number)
    kTokenWrap,       // secret that a device holds -> wraps the volume key in its slot
};

// The 16-byte personalisation of a purpose: "x1." + a short name, zero padded.
ByteArray<16> purpose_label(KeyPurpose purpose);

// out = BLAKE2b-256(key = parent, personal = label(purpose), message = context).
void derive_key(BytesN<32> parent, KeyPurpose purpose, Bytes context, MutBytesN<32> out);
// The same with a 64-byte output (BLAKE2b-512).
void derive_key(BytesN<32> parent, KeyPurpose purpose, Bytes context, MutBytesN<64> out);

// BLAKE2b-128 keyed MAC of `message`. Verify with equal_constant_time.
void mac128(BytesN<32> key, Bytes message, MutBytesN<16> out);
// BLAKE2b-256 keyed MAC.
void mac256(BytesN<32> key, Bytes message, MutBytesN<32> out);
// Unkeyed BLAKE2b-256.
void hash256(Bytes message, MutBytesN<32> out);

}  // namespace extencfs::crypto
