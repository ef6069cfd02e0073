// SPDX-License-Identifier: Apache-2.0
#include "encfs/volume/symlink_codec.h"

#include <charconv>
#include <utility>

#include "crypto/encoding.h"
#include "crypto/random.h"
#include "encfs/volume/crypto_errors.h"
#include "encfs/volume/sealed_box.h"
#include "encfs/volume/wire.h"

namespace extencfs::volume {
namespace {

constexpr std::string_view kInlineAad = "x1l";
constexpr std::string_view kLongAad = "x1m";
constexpr std::string_view kReference = "extencfs.s.";
constexpr std::size_t kIdBytes = 16;
constexpr std::size_t kIdText = 22;

static_assert(((kMaxInlineTarget + kBoxOverhead) * 4 + 2) / 3 <= kMaxTarget &&
              ((kMaxInlineTarget + 1 + kBoxOverhead) * 4 + 2) / 3 > kMaxTarget);

ByteVector long_aad(std::string_view id) {
    return join(bytes_of(kLongAad), bytes_of(id));
}

Result<void> check_target(std::string_view target, std::size_t least, std::size_t most) {
    if (target.size() > most) return fail(ErrorKind::kTooLong, "symlink target: too long");
    if (target.size() < least || target.find('\0') != std::string_view::npos) {
        return fail(ErrorKind::kBadParameter, "symlink target: too short, or with a NUL");
    }
    return {};
}

// A target that the kernel could not have given us must not be given to it.
Result<std::string> checked_text(std::string target) {
    if (target.find('\0') != std::string::npos) {
        return fail(ErrorKind::kDamaged, "symlink target: has a NUL");
    }
    return target;
}

MutBytes writable_bytes(std::string& text) {
    return std::as_writable_bytes(std::span(text.data(), text.size()));
}

}  // namespace

SymlinkCodec::SymlinkCodec(BytesN<32> key) : key_(key) {}

Result<std::string> SymlinkCodec::seal_inline(std::string_view target) const {
    if (auto good = check_target(target, 1, kMaxInlineTarget); !good) {
        return std::unexpected(good.error());
    }
    auto box = seal_box(key_.bytes(), bytes_of(kInlineAad), bytes_of(target), "symlink target");
    if (!box) return std::unexpected(box.error());
    return crypto::base64url_encode(*box);
}

Result<std::string> SymlinkCodec::open_inline(std::string_view lower_target) const {
    const auto box = crypto::base64url_decode(lower_target);
    if (!box || box->size() <= kBoxOverhead || box->size() - kBoxOverhead > kMaxInlineTarget) {
        return fail(ErrorKind::kDamaged, "symlink target: not one of this volume");
    }
    std::string target(box->size() - kBoxOverhead, '\0');
    auto opened = open_box(key_.bytes(), bytes_of(kInlineAad), *box, writable_bytes(target),
                           "symlink target");
    if (!opened) return std::unexpected(opened.error());
    return checked_text(std::move(target));
}

std::size_t SymlinkCodec::inline_size(std::size_t lower_size) {
    // 38, the size of every reference, falls below the least inline size of 55.
    const std::size_t rest = lower_size % 4;
    if (rest == 1 || lower_size > kMaxTarget) return 0;
    const std::size_t box = lower_size / 4 * 3 + (rest == 0 ? 0 : rest - 1);
    return box <= kBoxOverhead ? 0 : box - kBoxOverhead;
}

Result<SymlinkCodec::Long> SymlinkCodec::seal_long(std::string_view target) const {
    if (auto good = check_target(target, kMaxInlineTarget + 1, kMaxTarget); !good) {
        return std::unexpected(good.error());
    }
    ByteArray<kIdBytes> random_id;
    if (auto drawn = crypto::fill_random(random_id); !drawn) {
        return from_crypto(drawn.error(), "symlink target");
    }
    LongTargetRef ref{.id = crypto::base64url_encode(random_id), .size = target.size()};
    auto box = seal_box(key_.bytes(), long_aad(ref.id), bytes_of(target), "symlink target");
    if (!box) return std::unexpected(box.error());
    std::string lower = std::string(kReference) + ref.id + "." + std::to_string(ref.size);
    return Long{.ref = std::move(ref), .lower_target = std::move(lower), .file_bytes = *box};
}

Result<LongTargetRef> SymlinkCodec::parse_ref(std::string_view lower_target) {
    const auto bad = [] { return fail(ErrorKind::kNotVolumeName, "symlink: not a reference"); };
    // Sizes above 3,031 have four digits: one text for each reference.
    if (lower_target.size() != kReference.size() + kIdText + 1 + 4 ||
        !lower_target.starts_with(kReference)) {
        return bad();
    }
    const std::string_view id = lower_target.substr(kReference.size(), kIdText);
    const std::string_view digits = lower_target.substr(kReference.size() + kIdText + 1);
    if (!crypto::base64url_decode(id) || lower_target[kReference.size() + kIdText] != '.') {
        return bad();
    }
    std::size_t size = 0;
    const auto end = std::from_chars(digits.data(), digits.data() + digits.size(), size);
    if (end.ec != std::errc{} || end.ptr != digits.data() + digits.size() ||
        size <= kMaxInlineTarget || size > kMaxTarget) {
        return bad();
    }
    return LongTargetRef{.id = std::string(id), .size = size};
}

Result<std::string> SymlinkCodec::open_long(const LongTargetRef& ref, Bytes file_bytes) const {
    if (ref.size <= kMaxInlineTarget || ref.size > kMaxTarget ||
        file_bytes.size() != ref.size + kBoxOverhead) {
        return fail(ErrorKind::kDamaged, "symlink target: wrong length");
    }
    std::string target(ref.size, '\0');
    auto opened = open_box(key_.bytes(), long_aad(ref.id), file_bytes, writable_bytes(target),
                           "symlink target");
    if (!opened) return std::unexpected(opened.error());
    return checked_text(std::move(target));
}

}  // namespace extencfs::volume
