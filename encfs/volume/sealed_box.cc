// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/sealed_box.h"

#include "crypto/aead.h"
#include "crypto/random.h"
#include "encfs/volume/crypto_errors.h"

namespace extencfs::volume {
namespace {

Result<crypto::AeadContext*> keyed_context(BytesN<32> key, const char* what) {
    auto context = crypto::thread_aead(crypto::AeadKind::kXChaCha20Poly1305);
    if (!context) return from_crypto(context.error(), what);
    if (auto set = (*context)->set_key(key); !set) return from_crypto(set.error(), what);
    return *context;
}

}  // namespace

Result<ByteVector> seal_box(BytesN<32> key, Bytes aad, Bytes plain, const char* what) {
    auto context = keyed_context(key, what);
    if (!context) return std::unexpected(context.error());
    ByteVector box(plain.size() + kBoxOverhead);
    const MutBytes out(box);
    const MutBytes nonce = out.first(kBoxNonceSize);
    // Nonce: 192 random bits, so that no number of seals under one key makes a repeat likely.
    if (auto drawn = crypto::fill_random(nonce); !drawn) return from_crypto(drawn.error(), what);
    auto sealed = (*context)->seal(nonce, aad, plain, out.subspan(kBoxNonceSize, plain.size()),
                                   out.last<crypto::kAeadTagSize>());
    if (!sealed) return from_crypto(sealed.error(), what);
    return box;
}

Result<void> open_box(BytesN<32> key, Bytes aad, Bytes sealed, MutBytes plain, const char* what) {
    if (sealed.size() < kBoxOverhead || sealed.size() - kBoxOverhead != plain.size()) {
        return fail(ErrorKind::kDamaged, std::string(what) + ": wrong length");
    }
    auto context = keyed_context(key, what);
    if (!context) return std::unexpected(context.error());
    auto opened = (*context)->open(sealed.first(kBoxNonceSize), aad,
                                   sealed.subspan(kBoxNonceSize, plain.size()),
                                   sealed.last<crypto::kAeadTagSize>(), plain);
    if (!opened) return from_crypto(opened.error(), what);
    return {};
}

}  // namespace extencfs::volume
