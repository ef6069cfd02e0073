// SPDX-License-Identifier: Apache-2.0
// What a volume for a test is made with: a password, and a key derivation that costs next to
// nothing.
#pragma once

#include "crypto/bytes.h"
#include "crypto/password_kdf.h"
#include "encfs/daemon/volume_on_disk.h"

namespace extencfs::test {

inline const Bytes kPassword = bytes_of("right");

inline volume::NewVolume cheap() {
    volume::NewVolume choice;
    choice.cost = crypto::kArgon2Least;
    return choice;
}

}  // namespace extencfs::test
