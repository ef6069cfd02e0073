// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/hardening.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include "crypto/locked_heap.h"
#include "crypto/self_test.h"

namespace extencfs::daemon {
namespace {

// Soft limit up to the hard one; returns what is in force.
std::uint64_t raise_limit(__rlimit_resource resource) {
    rlimit limit{};
    if (getrlimit(resource, &limit) != 0) return 0;
    if (limit.rlim_cur != limit.rlim_max) {
        rlimit wanted{limit.rlim_max, limit.rlim_max};
        if (setrlimit(resource, &wanted) == 0) limit = wanted;
    }
    return limit.rlim_cur;
}

}  // namespace

Outcome<HardeningReport> harden_process() {
    HardeningReport report;
    const rlimit none{0, 0};
    report.core_dumps_off =
        setrlimit(RLIMIT_CORE, &none) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0;
    report.memlock_bytes = raise_limit(RLIMIT_MEMLOCK);
    report.descriptors = raise_limit(RLIMIT_NOFILE);
    report.openssl_keys_locked = crypto::use_locked_heap_for_openssl();
    if (auto good = crypto::self_test(); !good) {
        return fail(FailureKind::kSelfTest, good.error(),
                    " computes wrong results on this machine; do not use a volume here, check the "
                    "memory and the installed OpenSSL and libsodium");
    }
    return report;
}

}  // namespace extencfs::daemon
