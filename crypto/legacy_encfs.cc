// SPDX-License-Identifier: Apache-2.0
#include "crypto/legacy_encfs.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <climits>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "crypto/evp.h"
#include "crypto/secret.h"

namespace extencfs::crypto {

namespace {

constexpr std::size_t kSha1Size = 20;
constexpr std::size_t kSha1Block = 64;
constexpr std::size_t kMostIv = 16;

using Digest = ByteArray<kSha1Size>;

std::unexpected<Error> internal() {
    ERR_clear_error();
    return std::unexpected(Error::kInternal);
}

// ---- which algorithm of OpenSSL ----

// Blowfish lies in a provider that is not loaded by default. A library context of its own leaves
// the process's, and the system's configuration, as they are.
OSSL_LIB_CTX* context_with_legacy() {
    static OSSL_LIB_CTX* const context = [] {
        OSSL_LIB_CTX* made = OSSL_LIB_CTX_new();
        if (made != nullptr) OSSL_PROVIDER_load(made, "legacy");
        return made;
    }();
    return context;
}

struct CipherFree {
    void operator()(EVP_CIPHER* cipher) const { EVP_CIPHER_free(cipher); }
};
using FetchedCipher = std::unique_ptr<EVP_CIPHER, CipherFree>;

FetchedCipher fetch(const LegacyCipherSpec& spec, const char* mode) {
    FetchedCipher found;
    if (spec.cipher == LegacyCipher::kBlowfish) {
        const std::string name = std::string("BF-") + mode;
        found.reset(EVP_CIPHER_fetch(context_with_legacy(), name.c_str(), nullptr));
    } else {
        const std::string family = spec.cipher == LegacyCipher::kAes ? "AES-" : "CAMELLIA-";
        const std::string name = family + std::to_string(spec.key_size * 8) + "-" + mode;
        found.reset(EVP_CIPHER_fetch(nullptr, name.c_str(), nullptr));
    }
    ERR_clear_error();
    return found;
}

Result<EvpContext> keyed(const EVP_CIPHER* cipher, Bytes key, bool encrypts) {
    Result<EvpContext> context = new_evp_context();
    if (!context) return context;
    EVP_CIPHER_CTX* evp = context->get();
    const int encrypt = encrypts ? 1 : 0;
    if (EVP_CipherInit_ex2(evp, cipher, nullptr, nullptr, encrypt, nullptr) != 1 ||
        (EVP_CIPHER_CTX_get_key_length(evp) != static_cast<int>(key.size()) &&
         EVP_CIPHER_CTX_set_key_length(evp, static_cast<int>(key.size())) != 1) ||
        EVP_CIPHER_CTX_set_padding(evp, 0) != 1 ||
        EVP_CipherInit_ex2(evp, nullptr, raw(key), nullptr, encrypt, nullptr) != 1) {
        return internal();
    }
    return context;
}

// ---- SHA-1 and its HMAC ----

struct DigestContextFree {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using DigestContext = std::unique_ptr<EVP_MD_CTX, DigestContextFree>;

const EVP_MD* sha1() {
    static const EVP_MD* const fetched = EVP_MD_fetch(nullptr, "SHA1", nullptr);
    return fetched;
}

bool add(EVP_MD_CTX* context, Bytes data) {
    return EVP_DigestUpdate(context, data.data(), data.size()) == 1;
}

bool finish(EVP_MD_CTX* context, Digest& out) {
    return EVP_DigestFinal_ex(context, raw(MutBytes(out)), nullptr) == 1;
}

// A hash that has taken in the key, xored with `pad`, already (RFC 2104).
DigestContext started(Bytes key, std::byte pad) {
    assert(key.size() <= kSha1Block);
    ByteArray<kSha1Block> block;
    block.fill(pad);
    for (std::size_t i = 0; i < key.size(); ++i) block[i] ^= key[i];
    DigestContext context(EVP_MD_CTX_new());
    const bool good = context != nullptr &&
                      EVP_DigestInit_ex2(context.get(), sha1(), nullptr) == 1 &&
                      add(context.get(), block);
    wipe(block);
    if (!good) context.reset();
    return context;
}

ByteArray<8> little_endian(std::uint64_t value) {
    ByteArray<8> bytes;
    for (std::size_t i = 0; i < 8; ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
    return bytes;
}

std::uint64_t folded(const Digest& digest) {
    std::array<std::uint8_t, 8> folded{};
    // The last byte is left out: so did the first release, and all after it.
    for (std::size_t i = 0; i + 1 < digest.size(); ++i)
        folded[i % 8] ^= static_cast<std::uint8_t>(digest[i]);
    std::uint64_t value = 0;
    for (const std::uint8_t byte : folded) value = value << 8 | byte;
    return value;
}

// ---- the two passes of stream coding ----

void shuffle(MutBytes data) {
    for (std::size_t i = 0; i + 1 < data.size(); ++i) data[i + 1] ^= data[i];
}

void unshuffle(MutBytes data) {
    for (std::size_t i = data.size(); i-- > 1;) data[i] ^= data[i - 1];
}

void flip(MutBytes data) {
    constexpr std::size_t kChunk = 64;
    for (std::size_t at = 0; at < data.size(); at += kChunk) {
        const MutBytes chunk = data.subspan(at, std::min(kChunk, data.size() - at));
        std::reverse(chunk.begin(), chunk.end());
    }
}

// The seeds of majors 1 and 2: 32 bits of them, spread over the IV.
void mix_old_seed(MutBytes iv, std::uint64_t seed) {
    const auto s = static_cast<std::uint32_t>(seed);
    const std::uint32_t a = 0x060a4011u * s;
    const std::uint32_t b = 0x0221040du * (s ^ 0xD3FEA11Cu);
    const auto byte = [](std::uint32_t word, int index) {
        return static_cast<std::byte>(word >> (8 * index));
    };
    const std::array<std::byte, kMostIv> mask = {byte(a, 3), byte(b, 2), byte(a, 1), byte(b, 0),
                                                 byte(b, 3), byte(a, 2), byte(b, 1), byte(a, 0),
                                                 byte(a, 0), byte(b, 1), byte(a, 2), byte(b, 3),
                                                 byte(a, 3), byte(b, 2), byte(a, 1), byte(b, 0)};
    for (std::size_t i = 0; i < iv.size(); ++i) iv[i] ^= mask[i];
}

// What one call needs: keyed once, reused by one thread after another.
struct Contexts {
    EvpContext block_encode, block_decode, stream_encode, stream_decode;
    DigestContext work;
};

}  // namespace

// ---- LegacyKey ----

struct LegacyKey::State {
    LegacyCipherSpec spec;
    SecretBytes secret;
    FetchedCipher cbc, cfb;
    DigestContext inner, outer;
    std::mutex mutex;  // of `idle` alone, never held during a call
    std::vector<std::unique_ptr<Contexts>> idle;

    Bytes key() const { return secret.bytes().first(spec.key_size); }
    Bytes iv() const { return secret.bytes().subspan(spec.key_size); }

    Result<std::unique_ptr<Contexts>> take();
    void give_back(std::unique_ptr<Contexts> contexts);

    Result<Digest> hmac(Contexts& contexts, Bytes first, Bytes second) const;
    Result<void> set_iv(Contexts& contexts, EVP_CIPHER_CTX* cipher, std::uint64_t seed) const;
    Result<void> run(Contexts& contexts, EVP_CIPHER_CTX* cipher, MutBytes data,
                     std::uint64_t seed) const;
};

namespace {

// Contexts for the length of a call.
template <typename State>
class Lease {
  public:
    explicit Lease(State& state) : state_(state), contexts_(state.take()) {}
    ~Lease() {
        if (contexts_) state_.give_back(std::move(*contexts_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    explicit operator bool() const { return contexts_.has_value(); }
    Error error() const { return contexts_.error(); }
    Contexts& operator*() { return **contexts_; }

  private:
    State& state_;
    Result<std::unique_ptr<Contexts>> contexts_;
};

}  // namespace

Result<std::unique_ptr<Contexts>> LegacyKey::State::take() {
    {
        const std::lock_guard lock(mutex);
        if (!idle.empty()) {
            std::unique_ptr<Contexts> contexts = std::move(idle.back());
            idle.pop_back();
            return contexts;
        }
    }
    auto made = std::make_unique<Contexts>();
    const auto make = [&](EvpContext& to, const FetchedCipher& cipher, bool encrypts) {
        auto context = keyed(cipher.get(), key(), encrypts);
        if (context) to = std::move(*context);
        return context.has_value();
    };
    made->work.reset(EVP_MD_CTX_new());
    if (made->work == nullptr) return std::unexpected(Error::kNoMemory);
    // CFB decrypts with the cipher's encryption, but OpenSSL wants to know the direction.
    if (!make(made->block_encode, cbc, true) || !make(made->block_decode, cbc, false) ||
        !make(made->stream_encode, cfb, true) || !make(made->stream_decode, cfb, false)) {
        return internal();
    }
    return made;
}

void LegacyKey::State::give_back(std::unique_ptr<Contexts> contexts) {
    const std::lock_guard lock(mutex);
    idle.push_back(std::move(contexts));
}

Result<Digest> LegacyKey::State::hmac(Contexts& contexts, Bytes first, Bytes second) const {
    EVP_MD_CTX* work = contexts.work.get();
    Digest digest;
    if (EVP_MD_CTX_copy_ex(work, inner.get()) != 1 || !add(work, first) || !add(work, second) ||
        !finish(work, digest) || EVP_MD_CTX_copy_ex(work, outer.get()) != 1 || !add(work, digest) ||
        !finish(work, digest)) {
        return internal();
    }
    return digest;
}

Result<void> LegacyKey::State::set_iv(Contexts& contexts, EVP_CIPHER_CTX* cipher,
                                      std::uint64_t seed) const {
    ByteArray<kMostIv> bytes{};
    const MutBytes out = MutBytes(bytes).first(iv().size());
    if (spec.major >= 3) {
        const auto digest = hmac(contexts, iv(), little_endian(seed));
        if (!digest) return std::unexpected(digest.error());
        std::copy_n(digest->begin(), out.size(), out.begin());
    } else {
        std::copy_n(iv().begin(), out.size(), out.begin());
        mix_old_seed(out, seed);
    }
    // The key stays; -1: so does the direction.
    if (EVP_CipherInit_ex2(cipher, nullptr, nullptr, raw(out), -1, nullptr) != 1) return internal();
    return {};
}

Result<void> LegacyKey::State::run(Contexts& contexts, EVP_CIPHER_CTX* cipher, MutBytes data,
                                   std::uint64_t seed) const {
    if (data.empty() || data.size() > INT_MAX) return std::unexpected(Error::kBadParameter);
    if (auto set = set_iv(contexts, cipher, seed); !set) return set;
    int written = 0;
    if (EVP_CipherUpdate(cipher, raw(data), &written, raw(Bytes(data)),
                         static_cast<int>(data.size())) != 1 ||
        written != static_cast<int>(data.size())) {
        return internal();
    }
    return {};
}

LegacyKey::LegacyKey(std::unique_ptr<State> state) : state_(std::move(state)) {}
LegacyKey::~LegacyKey() = default;
LegacyKey::LegacyKey(LegacyKey&&) noexcept = default;
LegacyKey& LegacyKey::operator=(LegacyKey&&) noexcept = default;

const LegacyCipherSpec& LegacyKey::spec() const {
    return state_->spec;
}

Result<LegacyKey> LegacyKey::create(const LegacyCipherSpec& spec, Bytes secret) {
    if (spec.major < 1 || spec.major > 3 || secret.size() != spec.secret_size() ||
        spec.key_size != legacy_key_size(spec.cipher, spec.key_size * 8)) {
        return std::unexpected(Error::kBadParameter);
    }
    auto state = std::make_unique<State>();
    state->spec = spec;
    state->secret = SecretBytes(secret);
    state->cbc = fetch(spec, "CBC");
    state->cfb = fetch(spec, "CFB");
    if (state->cbc == nullptr || state->cfb == nullptr || sha1() == nullptr)
        return std::unexpected(Error::kUnavailable);
    state->inner = started(state->key(), std::byte{0x36});
    state->outer = started(state->key(), std::byte{0x5c});
    if (state->inner == nullptr || state->outer == nullptr) return internal();
    // Now, so that a cipher that does not work is noticed here.
    auto contexts = state->take();
    if (!contexts) return std::unexpected(contexts.error());
    state->give_back(std::move(*contexts));
    return LegacyKey(std::move(state));
}

Result<std::uint64_t> LegacyKey::mac64(Bytes data, std::optional<std::uint64_t> chain) const {
    Lease lease(*state_);
    if (!lease) return std::unexpected(lease.error());
    const ByteArray<8> tail = little_endian(chain.value_or(0));
    const auto digest = state_->hmac(*lease, data, Bytes(tail).first(chain ? tail.size() : 0));
    if (!digest) return std::unexpected(digest.error());
    return folded(*digest);
}

Result<void> LegacyKey::encode_blocks(MutBytes data, std::uint64_t seed) const {
    if (data.size() % block_size() != 0) return std::unexpected(Error::kBadParameter);
    Lease lease(*state_);
    if (!lease) return std::unexpected(lease.error());
    return state_->run(*lease, (*lease).block_encode.get(), data, seed);
}

Result<void> LegacyKey::decode_blocks(MutBytes data, std::uint64_t seed) const {
    if (data.size() % block_size() != 0) return std::unexpected(Error::kBadParameter);
    Lease lease(*state_);
    if (!lease) return std::unexpected(lease.error());
    return state_->run(*lease, (*lease).block_decode.get(), data, seed);
}

Result<void> LegacyKey::encode_stream(MutBytes data, std::uint64_t seed) const {
    Lease lease(*state_);
    if (!lease) return std::unexpected(lease.error());
    EVP_CIPHER_CTX* cipher = (*lease).stream_encode.get();
    shuffle(data);
    if (auto done = state_->run(*lease, cipher, data, seed); !done) return done;
    flip(data);
    shuffle(data);
    return state_->run(*lease, cipher, data, seed + 1);
}

Result<void> LegacyKey::decode_stream(MutBytes data, std::uint64_t seed) const {
    Lease lease(*state_);
    if (!lease) return std::unexpected(lease.error());
    EVP_CIPHER_CTX* cipher = (*lease).stream_decode.get();
    if (auto done = state_->run(*lease, cipher, data, seed + 1); !done) return done;
    unshuffle(data);
    flip(data);
    if (auto done = state_->run(*lease, cipher, data, seed); !done) return done;
    unshuffle(data);
    return {};
}

// ---- keys from passwords ----

std::size_t legacy_key_size(LegacyCipher cipher, std::uint64_t bits) {
    constexpr std::uint64_t kLeast = 128, kMost = 256;
    const std::uint64_t step = cipher == LegacyCipher::kBlowfish ? 32 : 64;
    const std::uint64_t within = std::clamp(bits, kLeast, kMost);
    // The nearest; the upper one of two that are as near.
    const std::uint64_t steps = (within - kLeast + step / 2) / step;
    return static_cast<std::size_t>((kLeast + steps * step) / 8);
}

Result<void> legacy_pbkdf2(Bytes password, Bytes salt, std::uint32_t iterations, MutBytes out) {
    if (password.empty() || password.size() > INT_MAX || salt.size() > INT_MAX || iterations == 0 ||
        iterations > INT_MAX || sha1() == nullptr) {
        return std::unexpected(Error::kBadParameter);
    }
    if (PKCS5_PBKDF2_HMAC(reinterpret_cast<const char*>(password.data()),
                          static_cast<int>(password.size()), raw(salt),
                          static_cast<int>(salt.size()), static_cast<int>(iterations), sha1(),
                          static_cast<int>(out.size()), raw(out)) != 1) {
        wipe(out);
        return internal();
    }
    return {};
}

namespace {

// Appends D_1 || D_2 || ... where each is SHA-1, 16 times, of the one before and the password.
Result<void> sha1_stream(Bytes password, MutBytes out) {
    constexpr int kRounds = 16;
    const DigestContext context(EVP_MD_CTX_new());
    if (context == nullptr) return std::unexpected(Error::kNoMemory);
    EVP_MD_CTX* evp = context.get();
    Digest digest{};
    for (std::size_t at = 0; at < out.size(); at += digest.size()) {
        const Bytes before = at == 0 ? Bytes() : Bytes(digest);
        bool good = EVP_DigestInit_ex2(evp, sha1(), nullptr) == 1 && add(evp, before) &&
                    add(evp, password) && finish(evp, digest);
        for (int round = 1; good && round < kRounds; ++round) {
            good = EVP_DigestInit_ex2(evp, sha1(), nullptr) == 1 && add(evp, digest) &&
                   finish(evp, digest);
        }
        if (!good) return internal();
        std::copy_n(digest.begin(), std::min(digest.size(), out.size() - at), out.begin() + at);
    }
    wipe(digest);
    return {};
}

}  // namespace

Result<void> legacy_bytes_to_key(const LegacyCipherSpec& spec, Bytes password, MutBytes out) {
    // EncFS 1.0 asked OpenSSL, for which a Blowfish key has 16 bytes; the rest stayed zero.
    constexpr std::size_t kFirstBlowfishKey = 16;
    if (password.empty() || out.size() != spec.secret_size() || sha1() == nullptr)
        return std::unexpected(Error::kBadParameter);
    if (spec.major > 1 || spec.cipher != LegacyCipher::kBlowfish) return sha1_stream(password, out);
    const std::size_t iv_size = legacy_block_size(spec.cipher);
    SecretBytes stream(kFirstBlowfishKey + iv_size);
    if (auto done = sha1_stream(password, stream.mutable_bytes()); !done) return done;
    std::fill(out.begin(), out.end(), std::byte{0});
    std::copy_n(stream.bytes().begin(), kFirstBlowfishKey, out.begin());
    std::copy_n(stream.bytes().begin() + kFirstBlowfishKey, iv_size, out.begin() + spec.key_size);
    return {};
}

Result<std::uint64_t> legacy_number_hash(std::uint64_t number) {
    const DigestContext context(EVP_MD_CTX_new());
    if (context == nullptr) return std::unexpected(Error::kNoMemory);
    Digest digest{};
    if (sha1() == nullptr || EVP_DigestInit_ex2(context.get(), sha1(), nullptr) != 1 ||
        !add(context.get(), little_endian(number)) || !finish(context.get(), digest)) {
        return internal();
    }
    std::uint64_t hash = 0;
    for (std::size_t i = 0; i < 8; ++i) hash = hash << 8 | static_cast<std::uint64_t>(digest[i]);
    return hash;
}

}  // namespace extencfs::crypto
