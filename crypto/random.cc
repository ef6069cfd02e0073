// SPDX-License-Identifier: Apache-2.0
#include "crypto/random.h"

#include <sys/random.h>

#include <cerrno>

namespace extencfs::crypto {

Result<void> fill_random(MutBytes out) {
    while (!out.empty()) {
        const ssize_t got = ::getrandom(out.data(), out.size(), 0);
        if (got > 0) {
            out = out.subspan(static_cast<std::size_t>(got));
        } else if (got == 0 || errno != EINTR) {
            return std::unexpected(Error::kInternal);
        }
    }
    return {};
}

}  // namespace extencfs::crypto
