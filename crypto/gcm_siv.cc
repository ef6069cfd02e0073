// SPDX-License-Identifier: Apache-2.0
#include "crypto/gcm_siv.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "crypto/evp.h"

namespace extencfs::crypto {

namespace {

constexpr std::size_t kBlock = 16;

// ---- POLYVAL (RFC 8452, 3) ----

// An element of the field: bit i of the little-endian number is the coefficient of x^i.
struct Element {
    std::uint64_t low = 0, high = 0;
};

std::uint64_t get_64(Bytes in) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < 8; ++i) value |= static_cast<std::uint64_t>(in[i]) << (8 * i);
    return value;
}

void put_64(MutBytes out, std::uint64_t value) {
    for (std::size_t i = 0; i < 8; ++i) out[i] = static_cast<std::byte>(value >> (8 * i));
}

// The low 64 bits of the product of two polynomials. Every fourth bit is multiplied by itself, so
// that carries end in bits that are masked out (T. Pornin, BearSSL, ghash_ctmul64).
std::uint64_t multiply_low(std::uint64_t x, std::uint64_t y) {
    constexpr std::uint64_t kMask = 0x1111111111111111;
    std::array<std::uint64_t, 4> xs, ys;
    for (unsigned i = 0; i < 4; ++i) {
        xs[i] = x & kMask << i;
        ys[i] = y & kMask << i;
    }
    std::uint64_t product = 0;
    for (unsigned i = 0; i < 4; ++i) {
        std::uint64_t sum = 0;
        for (unsigned j = 0; j < 4; ++j) sum ^= xs[j] * ys[(i + 4 - j) % 4];
        product |= sum & kMask << i;
    }
    return product;
}

std::uint64_t reversed(std::uint64_t x) {
    const auto swap = [](std::uint64_t v, std::uint64_t mask, unsigned by) {
        return (v & mask) << by | (v >> by & mask);
    };
    x = swap(x, 0x5555555555555555, 1);
    x = swap(x, 0x3333333333333333, 2);
    x = swap(x, 0x0F0F0F0F0F0F0F0F, 4);
    return __builtin_bswap64(x);
}

std::uint64_t multiply_high(std::uint64_t x, std::uint64_t y) {
    return reversed(multiply_low(reversed(x), reversed(y))) >> 1;
}

// a b x^-128.
Element dot(const Element& a, const Element& b) {
    // Karatsuba.
    const std::uint64_t middle_a = a.low ^ a.high, middle_b = b.low ^ b.high;
    std::array<std::uint64_t, 4> p{multiply_low(a.low, b.low), multiply_high(a.low, b.low),
                                   multiply_low(a.high, b.high), multiply_high(a.high, b.high)};
    const std::uint64_t low = multiply_low(middle_a, middle_b) ^ p[0] ^ p[2];
    const std::uint64_t high = multiply_high(middle_a, middle_b) ^ p[1] ^ p[3];
    p[1] ^= low;
    p[2] ^= high;
    // The modulus x^128 + x^127 + x^126 + x^121 + 1, times what is lowest, takes that away.
    for (std::size_t i = 0; i < 2; ++i) {
        const std::uint64_t v = p[i];
        p[i + 1] ^= v << 57 ^ v << 62 ^ v << 63;
        p[i + 2] ^= v ^ v >> 1 ^ v >> 2 ^ v >> 7;
    }
    return {p[2], p[3]};
}

class Polyval {
  public:
    explicit Polyval(Bytes key) : key_{get_64(key), get_64(key.subspan(8))} {}
    ~Polyval() { wipe(std::as_writable_bytes(std::span(&key_, 1))); }
    Polyval(const Polyval&) = delete;
    Polyval& operator=(const Polyval&) = delete;

    // Filled up with zeros to whole blocks.
    void add(Bytes data) {
        for (; data.size() >= kBlock; data = data.subspan(kBlock)) block(data.first(kBlock));
        if (data.empty()) return;
        ByteArray<kBlock> last{};
        std::copy(data.begin(), data.end(), last.begin());
        block(last);
    }
    void add_lengths(std::size_t aad_size, std::size_t size) {
        ByteArray<kBlock> lengths;
        put_64(lengths, std::uint64_t{aad_size} * 8);
        put_64(MutBytes(lengths).subspan(8), std::uint64_t{size} * 8);
        block(lengths);
    }
    ByteArray<kBlock> result() const {
        ByteArray<kBlock> out;
        put_64(out, sum_.low);
        put_64(MutBytes(out).subspan(8), sum_.high);
        return out;
    }

  private:
    void block(Bytes data) {
        sum_.low ^= get_64(data);
        sum_.high ^= get_64(data.subspan(8));
        sum_ = dot(sum_, key_);
    }
    Element key_, sum_;
};

// ---- AES ----

class Aes {
  public:
    static Result<Aes> create(Bytes key) {
        auto context = new_evp_context();
        if (!context) return std::unexpected(context.error());
        const EVP_CIPHER* cipher = key.size() == 16 ? EVP_aes_128_ecb() : EVP_aes_256_ecb();
        if (EVP_EncryptInit_ex(context->get(), cipher, nullptr, raw(key), nullptr) != 1 ||
            EVP_CIPHER_CTX_set_padding(context->get(), 0) != 1)
            return std::unexpected(Error::kInternal);
        return Aes(std::move(*context));
    }
    // Whole blocks, each by itself.
    [[nodiscard]] bool encrypt(MutBytes blocks) const {
        int size = 0;
        return EVP_EncryptUpdate(context_.get(), raw(blocks), &size, raw(blocks),
                                 static_cast<int>(blocks.size())) == 1 &&
               size == static_cast<int>(blocks.size());
    }

  private:
    explicit Aes(EvpContext context) : context_(std::move(context)) {}
    EvpContext context_;
};

// The keys of one nonce (RFC 8452, 4).
struct Derived {
    SecretBytes authentication;
    SecretBytes encryption;
};

Result<Derived> derive(Bytes key, BytesN<kGcmSivNonceSize> nonce) {
    const auto aes = Aes::create(key);
    if (!aes) return std::unexpected(aes.error());
    Derived derived{SecretBytes(std::size_t{16}), SecretBytes(key.size())};
    const std::size_t parts = (16 + key.size()) / 8;
    SecretBytes blocks(parts * kBlock);
    for (std::size_t i = 0; i < parts; ++i) {
        const MutBytes block = blocks.mutable_bytes().subspan(i * kBlock, kBlock);
        block[0] = static_cast<std::byte>(i);
        std::copy(nonce.begin(), nonce.end(), block.subspan(4).begin());
    }
    if (!aes->encrypt(blocks.mutable_bytes())) return std::unexpected(Error::kInternal);
    for (std::size_t i = 0; i < parts; ++i) {
        const Bytes half = blocks.bytes().subspan(i * kBlock, 8);
        const MutBytes to = i < 2 ? derived.authentication.mutable_bytes().subspan(i * 8, 8)
                                  : derived.encryption.mutable_bytes().subspan((i - 2) * 8, 8);
        std::copy(half.begin(), half.end(), to.begin());
    }
    return derived;
}

// The counter is the first four bytes, and starts from the tag.
[[nodiscard]] bool crypt(const Aes& aes, BytesN<kGcmSivTagSize> tag, MutBytes data) {
    constexpr std::size_t kBatch = 64;
    ByteArray<kBlock> first;
    std::copy(tag.begin(), tag.end(), first.begin());
    first[kBlock - 1] |= std::byte{0x80};
    auto counter = static_cast<std::uint32_t>(get_64(first));
    ByteArray<kBatch * kBlock> stream;
    bool good = true;
    while (!data.empty() && good) {
        const std::size_t size = std::min(data.size(), stream.size());
        const std::size_t blocks = (size + kBlock - 1) / kBlock;
        for (std::size_t i = 0; i < blocks; ++i, ++counter) {
            const MutBytes block = MutBytes(stream).subspan(i * kBlock, kBlock);
            std::copy(first.begin(), first.end(), block.begin());
            for (unsigned j = 0; j < 4; ++j) block[j] = static_cast<std::byte>(counter >> (8 * j));
        }
        good = aes.encrypt(MutBytes(stream).first(blocks * kBlock));
        for (std::size_t i = 0; i < size; ++i) data[i] ^= stream[i];
        data = data.subspan(size);
    }
    wipe(stream);
    return good;
}

Result<ByteArray<kGcmSivTagSize>> tag_of(const Derived& keys, const Aes& aes,
                                         BytesN<kGcmSivNonceSize> nonce, Bytes aad, Bytes plain) {
    Polyval polyval(keys.authentication.bytes());
    polyval.add(aad);
    polyval.add(plain);
    polyval.add_lengths(aad.size(), plain.size());
    ByteArray<kGcmSivTagSize> tag = polyval.result();
    for (std::size_t i = 0; i < nonce.size(); ++i) tag[i] ^= nonce[i];
    tag[kBlock - 1] &= std::byte{0x7f};
    if (!aes.encrypt(tag)) return std::unexpected(Error::kInternal);
    return tag;
}

}  // namespace

Result<GcmSivKey> GcmSivKey::create(Bytes key) {
    if (key.size() != 16 && key.size() != 32) return std::unexpected(Error::kBadParameter);
    return GcmSivKey(key);
}

Result<void> GcmSivKey::seal(BytesN<kGcmSivNonceSize> nonce, Bytes aad, MutBytes data,
                             MutBytesN<kGcmSivTagSize> tag) const {
    const auto keys = derive(key_.bytes(), nonce);
    if (!keys) return std::unexpected(keys.error());
    const auto aes = Aes::create(keys->encryption.bytes());
    if (!aes) return std::unexpected(aes.error());
    const auto made = tag_of(*keys, *aes, nonce, aad, data);
    if (!made) return std::unexpected(made.error());
    std::copy(made->begin(), made->end(), tag.begin());
    if (crypt(*aes, tag, data)) return {};
    wipe(data);
    return std::unexpected(Error::kInternal);
}

Result<void> GcmSivKey::open(BytesN<kGcmSivNonceSize> nonce, Bytes aad, MutBytes data,
                             BytesN<kGcmSivTagSize> tag) const {
    const auto opened = [&]() -> Result<void> {
        const auto keys = derive(key_.bytes(), nonce);
        if (!keys) return std::unexpected(keys.error());
        const auto aes = Aes::create(keys->encryption.bytes());
        if (!aes) return std::unexpected(aes.error());
        if (!crypt(*aes, tag, data)) return std::unexpected(Error::kInternal);
        const auto made = tag_of(*keys, *aes, nonce, aad, data);
        if (!made) return std::unexpected(made.error());
        if (!equal_constant_time(*made, tag)) return std::unexpected(Error::kAuthentication);
        return {};
    }();
    if (!opened) wipe(data);
    return opened;
}

}  // namespace extencfs::crypto
