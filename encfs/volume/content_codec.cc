// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/content_codec.h"

#include <cstring>

#include "crypto/kdf.h"
#include "crypto/random.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/wire.h"

namespace extencfs::volume {
namespace {

constexpr std::size_t kWordAt = kFragmentNonceSize;
constexpr std::size_t kTextAt = kFragmentNonceSize + kFragmentWordSize;
constexpr unsigned kUsedBits = 12;
constexpr std::uint32_t kUsedMask = (1u << kUsedBits) - 1;

// FORMAT.md "Contents": "x1c" || block u64 || fragment in block u8 || word.
using FragmentAad = ByteArray<16>;
FragmentAad aad_of(std::uint64_t number, Bytes word) {
    FragmentAad aad;
    put_bytes(aad, 0, bytes_of("x1c"));
    put_le<std::uint64_t>(aad, 3, number / 2);
    put_le<std::uint8_t>(aad, 11, static_cast<std::uint8_t>(number % 2));
    put_bytes(aad, 12, word);
    return aad;
}

// The AEAD nonce that follows from what is stored: FORMAT.md "Nonces".
struct AeadNonce {
    ByteArray<24> bytes;
    std::size_t size;
    Bytes view() const { return Bytes(bytes).first(size); }
};
AeadNonce nonce_of(crypto::AeadKind cipher, std::uint64_t number, Bytes stored, Bytes word) {
    AeadNonce nonce;
    nonce.size = crypto::aead_nonce_size(cipher);
    put_bytes(nonce.bytes, 0, stored);
    if (cipher == crypto::AeadKind::kXChaCha20Poly1305) {
        put_bytes(nonce.bytes, kWordAt, word);
        put_le<std::uint64_t>(nonce.bytes, kTextAt, number);
    }
    return nonce;
}

// A thread's cipher context, kept on the key of the group that a run of fragments is passing.
class GroupCipher {
  public:
    static Result<GroupCipher> create(crypto::AeadKind cipher, const crypto::Key256& file_key) {
        auto context = crypto::thread_aead(cipher);
        if (!context) return from_crypto(context.error(), "content cipher");
        return GroupCipher(**context, file_key);
    }

    Result<crypto::AeadContext*> at(std::uint64_t number) {
        const std::uint64_t group = number / (2 * kBlocksPerGroup);
        if (group == group_) return context_;
        ByteArray<8> text;
        put_le<std::uint64_t>(text, 0, group);
        ByteArray<32> key;
        crypto::derive_key(file_key_->bytes(), crypto::KeyPurpose::kBlockGroup, text, key);
        auto set = context_->set_key(key);
        crypto::wipe(key);
        if (!set) return from_crypto(set.error(), "content cipher");
        group_ = group;
        return context_;
    }

  private:
    GroupCipher(crypto::AeadContext& context, const crypto::Key256& file_key)
        : context_(&context), file_key_(&file_key) {}

    crypto::AeadContext* context_;
    const crypto::Key256* file_key_;
    std::uint64_t group_ = ~std::uint64_t{0};
};

// Plaintext and lower bytes of the run [first, first + n); both runs are contiguous.
struct RunSize {
    std::uint64_t plain;
    std::uint64_t cipher;
};
Result<RunSize> run_size(std::uint64_t first, std::uint64_t n) {
    constexpr std::uint64_t kFragments = 2 * (kMaxFileSize / kBlockSize);
    if (first > kFragments || n > kFragments - first) {
        return fail(ErrorKind::kInternal, "content: fragment number out of range");
    }
    if (n == 0) return RunSize{0, 0};
    const Fragment head = fragment(first);
    const Fragment last = fragment(first + n - 1);
    return RunSize{last.plain_off + last.plain_size - head.plain_off,
                   last.cipher_off + last.cipher_size - head.cipher_off};
}

std::uint32_t used_of(const Fragment& piece, std::uint64_t size) {
    if (size <= piece.plain_off) return 0;
    return static_cast<std::uint32_t>(
        std::min<std::uint64_t>(piece.plain_size, size - piece.plain_off));
}

// Real fragments begin with a random nonce: the long scan is for holes only.
bool is_all_zero(Bytes lower) {
    constexpr std::size_t kPeek = kTextAt;
    return all_zero(lower.first(std::min(lower.size(), kPeek))) && all_zero(lower);
}

OpenedFragment no_text(FragmentState state, MutBytes plain) {
    std::memset(plain.data(), 0, plain.size());
    return {state, 0};
}

}  // namespace

ContentCodec ContentCodec::make(BytesN<32> content_root, crypto::AeadKind cipher, const FileId& id,
                                std::uint32_t cut) {
    ContentCodec codec;
    codec.cipher_ = cipher;
    ByteArray<21> context;
    put_bytes(context, 0, id);
    put_le<std::uint32_t>(context, 16, cut);
    put_le<std::uint8_t>(context, 20, static_cast<std::uint8_t>(cipher));
    crypto::derive_key(content_root, crypto::KeyPurpose::kFile, context,
                       codec.file_key_.mutable_bytes());
    return codec;
}

Result<void> ContentCodec::seal(std::uint64_t first, std::uint64_t n, Bytes plain,
                                std::uint64_t size, std::uint32_t epoch, MutBytes out) const {
    const auto run = run_size(first, n);
    if (!run) return std::unexpected(run.error());
    if (plain.size() != run->plain || out.size() != run->cipher || epoch > kMaxEpoch) {
        return fail(ErrorKind::kInternal, "content: seal() called with wrong sizes");
    }
    auto group = GroupCipher::create(cipher_, file_key_);
    if (!group) return std::unexpected(group.error());

    // All nonces come from one call, into the end of `out`. A fragment takes more bytes there than
    // a nonce, so that no nonce is overwritten before its turn.
    static_assert(kFragmentNonceSize < kFragmentOverhead);
    const MutBytes nonces = out.last(static_cast<std::size_t>(n) * kFragmentNonceSize);
    if (auto drawn = crypto::fill_random(nonces); !drawn) {
        return from_crypto(drawn.error(), "content nonce");
    }
    for (std::uint64_t i = 0; i < n; ++i) {
        const Fragment piece = fragment(first + i);
        auto context = group->at(piece.number);
        if (!context) return std::unexpected(context.error());
        // Nonce: 96 fresh random bits under a key shared by 128 fragments (FORMAT.md "Nonces").
        const auto nonce = get_bytes<kFragmentNonceSize>(nonces, i * kFragmentNonceSize);
        const std::uint32_t used = used_of(piece, size);
        auto sealed = seal_one(**context, piece, nonce, used | (epoch << kUsedBits),
                               plain.first(piece.plain_size), out.first(piece.cipher_size));
        if (!sealed) return sealed;
        plain = plain.subspan(piece.plain_size);
        out = out.subspan(piece.cipher_size);
    }
    return {};
}

Result<void> ContentCodec::seal_one(crypto::AeadContext& context, const Fragment& piece,
                                    BytesN<kFragmentNonceSize> stored, std::uint32_t word,
                                    Bytes text, MutBytes out) const {
    // Invariant: no byte beyond the end of file is sealed; a longer file would show it again.
    if (!all_zero(text.subspan(word & kUsedMask))) {
        return fail(ErrorKind::kInternal, "content: seal() called without zero padding");
    }
    put_bytes(out, 0, stored);
    put_le<std::uint32_t>(out, kWordAt, word);
    const Bytes word_bytes = out.subspan(kWordAt, kFragmentWordSize);
    const FragmentAad aad = aad_of(piece.number, word_bytes);
    const AeadNonce nonce = nonce_of(cipher_, piece.number, stored, word_bytes);
    auto sealed = context.seal(nonce.view(), aad, text, out.subspan(kTextAt, piece.plain_size),
                               out.last<kFragmentTagSize>());
    if (!sealed) return from_crypto(sealed.error(), "content");
    return {};
}

Result<void> ContentCodec::open(std::uint64_t first, std::uint64_t n, Bytes cipher,
                                std::uint32_t header_epoch, bool sparse, MutBytes plain,
                                std::span<OpenedFragment> states) const {
    const auto run = run_size(first, n);
    if (!run) return std::unexpected(run.error());
    if (plain.size() != run->plain || cipher.size() > run->cipher || states.size() != n) {
        return fail(ErrorKind::kInternal, "content: open() called with wrong sizes");
    }
    auto group = GroupCipher::create(cipher_, file_key_);
    if (!group) return std::unexpected(group.error());

    for (std::uint64_t i = 0; i < n; ++i) {
        const Fragment piece = fragment(first + i);
        const Bytes lower = cipher.first(std::min<std::size_t>(cipher.size(), piece.cipher_size));
        const MutBytes text = plain.first(piece.plain_size);
        auto context = group->at(first + i);
        if (!context) return std::unexpected(context.error());
        auto opened = open_one(**context, piece, lower, header_epoch, sparse, text);
        if (!opened) return std::unexpected(opened.error());
        states[i] = *opened;
        plain = plain.subspan(piece.plain_size);
        cipher = cipher.subspan(lower.size());
    }
    return {};
}

Result<OpenedFragment> ContentCodec::open_one(crypto::AeadContext& context, const Fragment& piece,
                                              Bytes lower, std::uint32_t header_epoch, bool sparse,
                                              MutBytes text) const {
    if (lower.size() < piece.cipher_size) {
        const bool hole = sparse && all_zero(lower);
        return no_text(hole ? FragmentState::kHole : FragmentState::kMissing, text);
    }
    const Bytes stored = lower.first(kFragmentNonceSize);
    const Bytes word_bytes = lower.subspan(kWordAt, kFragmentWordSize);
    const auto word = get_le<std::uint32_t>(word_bytes, 0);
    if (is_all_zero(lower)) {
        return no_text(sparse ? FragmentState::kHole : FragmentState::kZero, text);
    }
    const FragmentAad aad = aad_of(piece.number, word_bytes);
    const AeadNonce nonce = nonce_of(cipher_, piece.number, stored, word_bytes);
    auto opened = context.open(nonce.view(), aad, lower.subspan(kTextAt, piece.plain_size),
                               lower.last<kFragmentTagSize>(), text);
    if (!opened) {
        if (opened.error() == crypto::Error::kAuthentication) {
            return no_text(FragmentState::kDamaged, text);
        }
        no_text(FragmentState::kDamaged, text);
        return from_crypto(opened.error(), "content");
    }
    const std::uint32_t used = word & kUsedMask;
    if (used > piece.plain_size) return no_text(FragmentState::kDamaged, text);
    if ((word >> kUsedBits) > header_epoch + 1) return no_text(FragmentState::kStale, text);
    return OpenedFragment{FragmentState::kGood, static_cast<std::uint16_t>(used)};
}

}  // namespace extencfs::volume
