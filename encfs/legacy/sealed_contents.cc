// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/sealed_contents.h"

#include <algorithm>
#include <utility>

#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/wire.h"

namespace extencfs::legacy {

namespace {

using volume::all_zero;
using volume::ErrorKind;
using volume::fail;
using volume::from_crypto;

// What a block is sealed with.
struct Binding {
    ByteArray<crypto::kGcmSivNonceSize> nonce{};
    ByteVector aad;
};

Binding binding_of(Seal seal, std::uint64_t block_no, const FileIv& iv) {
    Binding made;
    if (seal == Seal::kIv64) {
        volume::put_le(made.nonce, 0, iv.low ^ (block_no >> 32));
        volume::put_le(made.nonce, 8, static_cast<std::uint32_t>(block_no));
        made.aad.resize(16);
        volume::put_le(made.aad, 0, iv.low);
        volume::put_le(made.aad, 8, block_no);
    } else {
        volume::put_le(made.nonce, 0, iv.low ^ block_no);
        volume::put_le(made.nonce, 8, iv.high);
        made.aad.resize(20);
        volume::put_le(made.aad, 0, iv.low);
        volume::put_le(made.aad, 8, iv.high);
        volume::put_le(made.aad, 12, block_no);
    }
    return made;
}

}  // namespace

SealedCodec::SealedCodec(std::shared_ptr<const crypto::LegacyKey> key,
                         std::shared_ptr<const crypto::GcmSivKey> seal, const ContentLayout& layout)
    : key_(std::move(key)), seal_(std::move(seal)), layout_(layout) {}

Result<ByteVector> SealedCodec::encode_header(const FileIv& file_iv, std::uint64_t path_iv) const {
    ByteVector header(layout_.header_size());
    // Big-endian.
    for (std::size_t i = 0; i < header.size(); ++i) {
        const std::size_t at = header.size() - 1 - i;
        header[at] =
            static_cast<std::byte>(i < 8 ? file_iv.low >> (8 * i) : file_iv.high >> (8 * (i - 8)));
    }
    if (header.empty()) return header;
    const auto done = key_->encode_stream(header, path_iv);
    if (!done) return from_crypto(done.error(), "file header");
    return header;
}

Result<FileIv> SealedCodec::decode_header(Bytes lower, std::uint64_t path_iv) const {
    if (lower.size() != layout_.header_size()) return fail(ErrorKind::kBadParameter, "no header");
    if (lower.empty()) return FileIv{path_iv, 0};
    ByteVector header(lower.begin(), lower.end());
    const auto done = key_->decode_stream(header, path_iv);
    if (!done) return from_crypto(done.error(), "file header");
    FileIv iv;
    for (std::size_t i = 0; i < header.size(); ++i) {
        const auto byte = static_cast<std::uint64_t>(header[header.size() - 1 - i]);
        if (i < 8)
            iv.low |= byte << (8 * i);
        else
            iv.high |= static_cast<std::uint32_t>(byte << (8 * (i - 8)));
    }
    return iv;
}

Result<void> SealedCodec::encode_block(std::uint64_t block_no, const FileIv& file_iv, Bytes plain,
                                       MutBytes out) const {
    if (plain.empty() || plain.size() > layout_.data_size() ||
        out.size() != plain.size() + layout_.overhead()) {
        return fail(ErrorKind::kBadParameter, "not a block");
    }
    const MutBytes data = out.subspan(kSealTagSize);
    std::copy(plain.begin(), plain.end(), data.begin());
    const Binding binding = binding_of(layout_.seal, block_no, file_iv);
    const auto done = seal_->seal(binding.nonce, binding.aad, data, out.first<kSealTagSize>());
    if (!done) return from_crypto(done.error(), "block");
    return {};
}

Result<BlockState> SealedCodec::decode_block(std::uint64_t block_no, const FileIv& file_iv,
                                             MutBytes block) const {
    if (block.size() <= layout_.overhead() || block.size() > layout_.block_size)
        return fail(ErrorKind::kBadParameter, "not a block");
    if (layout_.holes && all_zero(block)) return BlockState::kHole;
    const MutBytes data = block.subspan(kSealTagSize);
    const Binding binding = binding_of(layout_.seal, block_no, file_iv);
    const auto done =
        seal_->open(binding.nonce, binding.aad, data, Bytes(block).first<kSealTagSize>());
    if (done) return BlockState::kGood;
    std::ranges::fill(block, std::byte{0});
    if (done.error() == crypto::Error::kAuthentication) return BlockState::kDamaged;
    return from_crypto(done.error(), "block");
}

}  // namespace extencfs::legacy
