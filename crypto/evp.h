// SPDX-License-Identifier: Apache-2.0
// Internal to crypto/: ownership of OpenSSL's objects.
#pragma once

#include <openssl/evp.h>

#include <memory>

#include "crypto/error.h"

namespace extencfs::crypto {

struct EvpContextFree {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using EvpContext = std::unique_ptr<EVP_CIPHER_CTX, EvpContextFree>;

// A new context, with no cipher. ERRORS: kNoMemory.
inline Result<EvpContext> new_evp_context() {
    EvpContext context(EVP_CIPHER_CTX_new());
    if (context == nullptr) return std::unexpected(Error::kNoMemory);
    return context;
}

}  // namespace extencfs::crypto
