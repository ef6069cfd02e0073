// SPDX-License-Identifier: Apache-2.0
#include "crypto/aead.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/params.h>
#include <sodium.h>

#include <climits>
#include <cstring>
#include <utility>

#include "crypto/evp.h"
#include "crypto/secret.h"

namespace extencfs::crypto {

namespace {

// OpenSSL's values of the `enc` argument.
enum Direction : int { kOpen = 0, kSeal = 1 };

constexpr std::size_t kEvpNonceSize = 12;

// A fetch walks the provider tables (about a microsecond): once for the process, and never freed,
// because threads may still use it while the process exits.
const EVP_CIPHER* fetched_cipher(AeadKind kind) {
    static const EVP_CIPHER* const gcm = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
    static const EVP_CIPHER* const chacha = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
    return kind == AeadKind::kAes256Gcm ? gcm : chacha;
}

bool fits_evp(Bytes bytes) {
    return bytes.size() <= INT_MAX;
}

bool feed(EVP_CIPHER_CTX* context, unsigned char* out, Bytes in) {
    if (in.empty()) return true;
    int written = 0;
    return EVP_CipherUpdate(context, out, &written, raw(in), static_cast<int>(in.size())) == 1;
}

bool finish(EVP_CIPHER_CTX* context) {
    // Both ciphers are streams: nothing is left to write, but OpenSSL wants somewhere to write it.
    unsigned char nothing[EVP_MAX_BLOCK_LENGTH];
    int written = 0;
    return EVP_CipherFinal_ex(context, nothing, &written) == 1;
}

// The tag as OpenSSL's parameter list: 60 ns less per message than EVP_CIPHER_CTX_ctrl, which
// builds the list and guesses at what it is for.
struct TagParams {
    explicit TagParams(void* tag)
        : list{{OSSL_CIPHER_PARAM_AEAD_TAG, OSSL_PARAM_OCTET_STRING, tag, kAeadTagSize,
                OSSL_PARAM_UNMODIFIED},
               {nullptr, 0, nullptr, 0, 0}} {}
    OSSL_PARAM list[2];
};

}  // namespace

struct AeadContext::State {
    explicit State(AeadKind which) : kind(which) {}

    struct Half {
        EvpContext evp;
        bool keyed = false;  // `evp` holds the expanded form of `key`
    };

    // Readies the half for one message: key if need be, nonce, and when opening the tag.
    bool begin(Direction direction, Bytes nonce, const OSSL_PARAM* params);
    bool begin_gcm(Half& half, Direction direction, Bytes nonce, const OSSL_PARAM* params);
    bool begin_xchacha(Half& half, Direction direction, Bytes nonce, const OSSL_PARAM* params);

    AeadKind kind;
    bool has_key = false;
    Half halves[2];  // by Direction
    Key256 key;
    Key256 subkey;  // XChaCha20 only: of the last message
};

bool AeadContext::State::begin(Direction direction, Bytes nonce, const OSSL_PARAM* params) {
    Half& half = halves[direction];
    return kind == AeadKind::kAes256Gcm ? begin_gcm(half, direction, nonce, params)
                                        : begin_xchacha(half, direction, nonce, params);
}

bool AeadContext::State::begin_gcm(Half& half, Direction direction, Bytes nonce,
                                   const OSSL_PARAM* params) {
    const unsigned char* new_key = half.keyed ? nullptr : raw(Bytes(key.bytes()));
    half.keyed =
        EVP_CipherInit_ex2(half.evp.get(), nullptr, new_key, raw(nonce), direction, params) == 1;
    return half.keyed;
}

bool AeadContext::State::begin_xchacha(Half& half, Direction direction, Bytes nonce,
                                       const OSSL_PARAM* params) {
    const MutBytes derived = subkey.mutable_bytes();
    if (crypto_core_hchacha20(raw(derived), raw(nonce), raw(Bytes(key.bytes())), nullptr) != 0) {
        return false;
    }
    unsigned char inner_nonce[kEvpNonceSize] = {};
    std::memcpy(inner_nonce + 4, nonce.data() + 16, 8);
    return EVP_CipherInit_ex2(half.evp.get(), nullptr, raw(derived), inner_nonce, direction,
                              params) == 1;
}

AeadContext::AeadContext(std::unique_ptr<State> state) : state_(std::move(state)) {}
AeadContext::~AeadContext() = default;
AeadContext::AeadContext(AeadContext&&) noexcept = default;
AeadContext& AeadContext::operator=(AeadContext&&) noexcept = default;

AeadKind AeadContext::kind() const {
    return state_->kind;
}

Result<AeadContext> AeadContext::create(AeadKind kind) {
    const EVP_CIPHER* cipher = fetched_cipher(kind);
    if (cipher == nullptr) return std::unexpected(Error::kUnavailable);
    auto state = std::make_unique<State>(kind);
    for (const Direction direction : {kOpen, kSeal}) {
        Result<EvpContext> evp = new_evp_context();
        if (!evp) return std::unexpected(evp.error());
        if (EVP_CipherInit_ex2(evp->get(), cipher, nullptr, nullptr, direction, nullptr) != 1) {
            ERR_clear_error();
            return std::unexpected(Error::kUnavailable);
        }
        state->halves[direction].evp = std::move(*evp);
    }
    return AeadContext(std::move(state));
}

Result<void> AeadContext::set_key(BytesN<kAeadKeySize> key) {
    State& state = *state_;
    if (state.has_key && equal_constant_time(state.key.bytes(), key)) return {};
    std::memcpy(state.key.mutable_bytes().data(), key.data(), key.size());
    state.has_key = true;
    for (State::Half& half : state.halves) half.keyed = false;
    return {};
}

void AeadContext::forget_key() {
    State& state = *state_;
    wipe(state.key.mutable_bytes());
    wipe(state.subkey.mutable_bytes());
    state.has_key = false;
    // A key of zeros takes the place of the expanded one.
    const unsigned char nonce[kEvpNonceSize] = {};
    for (const Direction direction : {kOpen, kSeal}) {
        State::Half& half = state.halves[direction];
        half.keyed = false;
        (void)EVP_CipherInit_ex2(half.evp.get(), nullptr, raw(Bytes(state.key.bytes())), nonce,
                                 direction, nullptr);
    }
    ERR_clear_error();
}

Result<void> AeadContext::seal(Bytes nonce, Bytes aad, Bytes plain, MutBytes cipher,
                               MutBytesN<kAeadTagSize> tag) {
    State& state = *state_;
    if (!state.has_key || nonce.size() != aead_nonce_size(state.kind) ||
        plain.size() != cipher.size() || !fits_evp(plain) || !fits_evp(aad)) {
        return std::unexpected(Error::kBadParameter);
    }
    EVP_CIPHER_CTX* evp = state.halves[kSeal].evp.get();
    TagParams made_tag(tag.data());
    if (state.begin(kSeal, nonce, nullptr) && feed(evp, nullptr, aad) &&
        feed(evp, raw(cipher), plain) && finish(evp) &&
        EVP_CIPHER_CTX_get_params(evp, made_tag.list) == 1) {
        return {};
    }
    state.halves[kSeal].keyed = false;
    // A half-made message may still be plaintext.
    wipe(cipher);
    ERR_clear_error();
    return std::unexpected(Error::kInternal);
}

Result<void> AeadContext::open(Bytes nonce, Bytes aad, Bytes cipher, BytesN<kAeadTagSize> tag,
                               MutBytes plain) {
    State& state = *state_;
    if (!state.has_key || nonce.size() != aead_nonce_size(state.kind) ||
        plain.size() != cipher.size() || !fits_evp(cipher) || !fits_evp(aad)) {
        wipe(plain);
        return std::unexpected(Error::kBadParameter);
    }
    EVP_CIPHER_CTX* evp = state.halves[kOpen].evp.get();
    // Parameter lists hold writable pointers; a parameter that is set is only read.
    const TagParams expected_tag(const_cast<std::byte*>(tag.data()));
    const bool fed = state.begin(kOpen, nonce, expected_tag.list) && feed(evp, nullptr, aad) &&
                     feed(evp, raw(plain), cipher);
    if (fed && finish(evp)) return {};
    wipe(plain);
    ERR_clear_error();
    if (fed) return std::unexpected(Error::kAuthentication);
    state.halves[kOpen].keyed = false;
    return std::unexpected(Error::kInternal);
}

namespace {

std::unique_ptr<AeadContext>& own_context(AeadKind kind) {
    thread_local std::unique_ptr<AeadContext> gcm;
    thread_local std::unique_ptr<AeadContext> xchacha;
    return kind == AeadKind::kAes256Gcm ? gcm : xchacha;
}

}  // namespace

void forget_thread_keys() {
    for (const AeadKind kind : {AeadKind::kAes256Gcm, AeadKind::kXChaCha20Poly1305}) {
        if (const auto& own = own_context(kind)) own->forget_key();
    }
}

Result<AeadContext*> thread_aead(AeadKind kind) {
    std::unique_ptr<AeadContext>& own = own_context(kind);
    if (own == nullptr) {
        Result<AeadContext> made = AeadContext::create(kind);
        if (!made) return std::unexpected(made.error());
        own = std::make_unique<AeadContext>(std::move(*made));
    }
    return own.get();
}

}  // namespace extencfs::crypto
