// SPDX-License-Identifier: Apache-2.0
// Internal to crypto/: libsodium's one-time set-up.
#pragma once

#include <sodium.h>

namespace extencfs::crypto {

// Lets libsodium choose its code for this processor (before that it runs portable, slower code with
// the same results, which is also what a failure leaves). Cheap after the first call. THREADS: any.
inline void sodium_ready() {
    [[maybe_unused]] static const int status = sodium_init();
}

}  // namespace extencfs::crypto
