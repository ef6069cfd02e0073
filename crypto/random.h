// SPDX-License-Identifier: Apache-2.0
// Random bytes straight from the kernel (getrandom(2)).
#pragma once

#include "crypto/bytes.h"
#include "crypto/error.h"

namespace extencfs::crypto {

// Fills `out` from getrandom(2), blocking only until the kernel's pool is first seeded. There is no
// pool in user space, on purpose: a virtual machine snapshot or a fork would replay it, and nonces
// come from here. THREADS: any. ERRORS: kInternal (the system call is refused).
[[nodiscard]] Result<void> fill_random(MutBytes out);

}  // namespace extencfs::crypto
