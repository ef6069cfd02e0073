// SPDX-License-Identifier: Apache-2.0
#include "encfs/legacy/contents.h"

#include <algorithm>
#include <utility>

#include "crypto/random.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/wire.h"

namespace extencfs::legacy {

namespace {

using volume::all_zero;
using volume::ErrorKind;
using volume::fail;
using volume::from_crypto;

}  // namespace

ContentCodec::ContentCodec(std::shared_ptr<const crypto::LegacyKey> key,
                           const ContentLayout& layout, MacPolicy policy)
    : key_(std::move(key)), layout_(layout), policy_(policy) {}

// ---- header ----

Result<ByteArray<kFileHeaderSize>> ContentCodec::encode_header(std::uint64_t file_iv,
                                                               std::uint64_t path_iv) const {
    ByteArray<kFileHeaderSize> header;
    for (std::size_t i = 0; i < header.size(); ++i)
        header[i] = static_cast<std::byte>(file_iv >> (8 * (header.size() - 1 - i)));
    const auto done = key_->encode_stream(header, path_iv);
    if (!done) return from_crypto(done.error(), "file header");
    return header;
}

Result<std::uint64_t> ContentCodec::decode_header(BytesN<kFileHeaderSize> lower,
                                                  std::uint64_t path_iv) const {
    ByteArray<kFileHeaderSize> header;
    std::copy(lower.begin(), lower.end(), header.begin());
    const auto done = key_->decode_stream(header, path_iv);
    if (!done) return from_crypto(done.error(), "file header");
    std::uint64_t file_iv = 0;
    for (const std::byte byte : header) file_iv = file_iv << 8 | static_cast<std::uint64_t>(byte);
    return file_iv;
}

// ---- blocks ----

// As many of its low bytes as are stored; the rest is zero.
Result<std::uint64_t> ContentCodec::block_mac(Bytes random_and_data) const {
    const auto mac = key_->mac64(random_and_data);
    if (!mac) return from_crypto(mac.error(), "block");
    return layout_.mac_size == 8 ? *mac : *mac & ((std::uint64_t{1} << 8 * layout_.mac_size) - 1);
}

Result<void> ContentCodec::encode_block(std::uint64_t block_no, std::uint64_t file_iv, Bytes plain,
                                        MutBytes out) const {
    if (plain.empty() || plain.size() > layout_.data_size() ||
        out.size() != plain.size() + layout_.overhead()) {
        return fail(ErrorKind::kBadParameter, "not a block");
    }
    std::copy(plain.begin(), plain.end(), out.subspan(layout_.overhead()).begin());
    if (layout_.random_size > 0) {
        const auto filled = crypto::fill_random(out.subspan(layout_.mac_size, layout_.random_size));
        if (!filled) return from_crypto(filled.error(), "block");
    }
    if (layout_.mac_size > 0) {
        const auto mac = block_mac(out.subspan(layout_.mac_size));
        if (!mac) return std::unexpected(mac.error());
        for (std::size_t i = 0; i < layout_.mac_size; ++i)
            out[i] = static_cast<std::byte>(*mac >> (8 * i));
    }
    const std::uint64_t seed = block_no ^ file_iv;
    const auto done = out.size() == layout_.block_size ? key_->encode_blocks(out, seed)
                                                       : key_->encode_stream(out, seed);
    if (!done) return from_crypto(done.error(), "block");
    return {};
}

Result<BlockState> ContentCodec::decode_block(std::uint64_t block_no, std::uint64_t file_iv,
                                              MutBytes block) const {
    if (block.size() <= layout_.overhead() || block.size() > layout_.block_size)
        return fail(ErrorKind::kBadParameter, "not a block");
    const bool whole = block.size() == layout_.block_size;
    if (layout_.holes && whole && all_zero(block)) return BlockState::kHole;
    const std::uint64_t seed = block_no ^ file_iv;
    const auto done = whole ? key_->decode_blocks(block, seed) : key_->decode_stream(block, seed);
    if (!done) {
        std::ranges::fill(block, std::byte{0});
        return from_crypto(done.error(), "block");
    }
    // A hole that EncFS itself made within a block before it encoded that.
    if (layout_.holes && all_zero(block)) return BlockState::kHole;
    if (layout_.mac_size == 0 || policy_ == MacPolicy::kIgnore) return BlockState::kGood;
    const auto mac = block_mac(block.subspan(layout_.mac_size));
    std::uint64_t stored = 0;
    for (std::size_t i = layout_.mac_size; i-- > 0;)
        stored = stored << 8 | static_cast<std::uint64_t>(block[i]);
    if (mac && stored == *mac) return BlockState::kGood;
    std::ranges::fill(block, std::byte{0});
    if (!mac) return std::unexpected(mac.error());
    return BlockState::kDamaged;
}

}  // namespace extencfs::legacy
