// SPDX-License-Identifier: Apache-2.0
// What a volume for a test is made with: a password, and a key derivation that costs next to
// nothing.
#pragma once

#include "crypto/bytes.h"
#include "crypto/password_kdf.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/legacy/config.h"

namespace extencfs::test {

inline const Bytes kPassword = bytes_of("right");

inline volume::NewVolume cheap() {
    volume::NewVolume choice;
    choice.cost = crypto::kArgon2Least;
    return choice;
}

// The settings of a volume of EncFS, likewise.
inline legacy::Config cheap_encfs(std::uint32_t key_bits) {
    legacy::Config choice;
    choice.creator = "test";
    choice.sub_version = 20100713;
    choice.cipher = {"ssl/aes", 3, 0, 2};
    choice.naming = {"nameio/block", 4, 0, 2};
    choice.key_bits = key_bits;
    choice.block_size = 1024;
    choice.kdf_ms = 1;
    return choice;
}

}  // namespace extencfs::test
