// SPDX-License-Identifier: Apache-2.0
#include "tools/command.h"

#include <sys/auxv.h>

#include <cstdio>

#include "encfs/daemon/log.h"

namespace extencfs::tools {

ExitCode tell(const daemon::Failure& failure) {
    std::fprintf(stderr, "extencfs: %s\n", daemon::printable(failure.sentence).c_str());
    return exit_code_of(failure.kind);
}

void tell_notice(const std::string& sentence) {
    std::fprintf(stderr, "extencfs: notice: %s\n", daemon::printable(sentence).c_str());
}

const char* cipher_name(crypto::AeadKind kind) {
    switch (kind) {
        case crypto::AeadKind::kAes256Gcm:
            return "aes-256-gcm";
        case crypto::AeadKind::kXChaCha20Poly1305:
            return "xchacha20-poly1305";
    }
    return "unknown";
}

bool has_aes_hardware() {
#if defined(__x86_64__) || defined(__i386__)
    return __builtin_cpu_supports("aes") != 0 && __builtin_cpu_supports("pclmul") != 0;
#elif defined(__aarch64__)
    constexpr unsigned long kAesAndPmull = (1UL << 3) | (1UL << 4);
    return (getauxval(AT_HWCAP) & kAesAndPmull) == kAesAndPmull;
#else
    return false;
#endif
}

}  // namespace extencfs::tools
