// SPDX-License-Identifier: Apache-2.0
// What a process that holds keys does before it holds them.
#pragma once

#include <cstdint>

#include "encfs/daemon/failure.h"

namespace extencfs::daemon {

struct HardeningReport {
    bool core_dumps_off = false;       // RLIMIT_CORE 0 and not dumpable
    bool openssl_keys_locked = false;  // OpenSSL allocates from the locked heap
    std::uint64_t memlock_bytes = 0;   // RLIMIT_MEMLOCK now in force
    std::uint64_t descriptors = 0;     // RLIMIT_NOFILE now in force
};

// No core dumps, not dumpable (also: nobody of the same user may attach a debugger), locked memory
// as far as the hard limit allows, keys of OpenSSL in it, descriptors up to the hard limit, and the
// known-answer tests of every primitive.
// REQUIRES: before any call of OpenSSL, and in the process that will hold the keys: locks on memory
// do not pass through fork(2). ERRORS: kSelfTest; everything else is done as well as it can be.
Outcome<HardeningReport> harden_process();

}  // namespace extencfs::daemon
