// SPDX-License-Identifier: Apache-2.0
#include "crypto/name_cipher.h"

#include <openssl/err.h>

#include <climits>
#include <utility>

#include "crypto/evp.h"

namespace extencfs::crypto {

namespace {

const EVP_CIPHER* fetched_siv() {
    static const EVP_CIPHER* const siv = EVP_CIPHER_fetch(nullptr, "AES-256-SIV", nullptr);
    return siv;
}

bool feed(EVP_CIPHER_CTX* context, unsigned char* out, Bytes in) {
    int written = 0;
    return EVP_CipherUpdate(context, out, &written, raw(in), static_cast<int>(in.size())) == 1;
}

bool finish(EVP_CIPHER_CTX* context) {
    unsigned char nothing[EVP_MAX_BLOCK_LENGTH];
    int written = 0;
    return EVP_CipherFinal_ex(context, nothing, &written) == 1;
}

// OpenSSL before 3.0.10 drops an empty component silently (CVE-2023-2975) and later versions
// authenticate it: leaving it out here makes all of them agree.
bool feed_aad(EVP_CIPHER_CTX* context, Bytes aad) {
    return aad.empty() || feed(context, nullptr, aad);
}

// A SIV context serves one message only, so each call works on a copy of the keyed one.
Result<EvpContext> copy_of(const EvpContext& keyed) {
    Result<EvpContext> copy = new_evp_context();
    if (copy && EVP_CIPHER_CTX_copy(copy->get(), keyed.get()) != 1) {
        ERR_clear_error();
        return std::unexpected(Error::kNoMemory);
    }
    return copy;
}

Result<EvpContext> keyed_context(BytesN<64> key, int encrypt) {
    const EVP_CIPHER* siv = fetched_siv();
    if (siv == nullptr) return std::unexpected(Error::kUnavailable);
    Result<EvpContext> context = new_evp_context();
    if (context &&
        EVP_CipherInit_ex2(context->get(), siv, raw(Bytes(key)), nullptr, encrypt, nullptr) != 1) {
        ERR_clear_error();
        return std::unexpected(Error::kInternal);
    }
    return context;
}

}  // namespace

struct NameCipher::State {
    EvpContext sealing;
    EvpContext opening;
};

NameCipher::NameCipher(std::unique_ptr<State> state) : state_(std::move(state)) {}
NameCipher::~NameCipher() = default;
NameCipher::NameCipher(NameCipher&&) noexcept = default;
NameCipher& NameCipher::operator=(NameCipher&&) noexcept = default;

Result<NameCipher> NameCipher::create(BytesN<64> key) {
    Result<EvpContext> sealing = keyed_context(key, 1);
    if (!sealing) return std::unexpected(sealing.error());
    Result<EvpContext> opening = keyed_context(key, 0);
    if (!opening) return std::unexpected(opening.error());
    return NameCipher(std::make_unique<State>(State{std::move(*sealing), std::move(*opening)}));
}

Result<void> NameCipher::seal(Bytes aad, Bytes plain, MutBytes out) const {
    if (plain.empty() || out.size() != plain.size() + kSivTagSize || plain.size() > INT_MAX ||
        aad.size() > INT_MAX) {
        return std::unexpected(Error::kBadParameter);
    }
    const Result<EvpContext> context = copy_of(state_->sealing);
    if (!context) return std::unexpected(context.error());
    EVP_CIPHER_CTX* evp = context->get();
    if (feed_aad(evp, aad) && feed(evp, raw(out.subspan(kSivTagSize)), plain) && finish(evp) &&
        EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_GET_TAG, kSivTagSize, out.data()) == 1) {
        return {};
    }
    wipe(out);
    ERR_clear_error();
    return std::unexpected(Error::kInternal);
}

Result<void> NameCipher::open(Bytes aad, Bytes sealed, MutBytes plain) const {
    if (sealed.size() <= kSivTagSize || plain.size() != sealed.size() - kSivTagSize ||
        sealed.size() > INT_MAX || aad.size() > INT_MAX) {
        wipe(plain);
        return std::unexpected(Error::kBadParameter);
    }
    const Result<EvpContext> context = copy_of(state_->opening);
    if (!context) {
        wipe(plain);
        return std::unexpected(context.error());
    }
    EVP_CIPHER_CTX* evp = context->get();
    // The control takes a writable pointer and only reads.
    void* tag = const_cast<std::byte*>(sealed.data());
    const bool ready = EVP_CIPHER_CTX_ctrl(evp, EVP_CTRL_AEAD_SET_TAG, kSivTagSize, tag) == 1 &&
                       feed_aad(evp, aad);
    if (ready && feed(evp, raw(plain), sealed.subspan(kSivTagSize)) && finish(evp)) return {};
    wipe(plain);
    ERR_clear_error();
    return std::unexpected(ready ? Error::kAuthentication : Error::kInternal);
}

}  // namespace extencfs::crypto
