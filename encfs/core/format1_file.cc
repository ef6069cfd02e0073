// SPDX-License-Identifier: Apache-2.0
// Opening, reading, seeking and syncing.
#include "encfs/core/format1_file.h"

#include <fmt/format.h>

#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace extencfs::core {

using volume::FragmentState;

namespace {

// Ciphertext of the operation in progress.
thread_local IoBuffer cipher_buffer;

constexpr std::size_t kStatesInline = 1024;

const char* describe(FragmentState state) {
    switch (state) {
        case FragmentState::kZero:
            return "is zeroed";
        case FragmentState::kDamaged:
            return "does not authenticate";
        case FragmentState::kMissing:
            return "is cut off";
        case FragmentState::kStale:
            return "is newer than the file's header";
        case FragmentState::kGood:
            return "is shorter than the file's header says";
        case FragmentState::kHole:
            return "is a hole";
    }
    return "is wrong";
}

}  // namespace

Format1File::Format1File(const Format1Context& context, lower::LowerFs& lower, lower::Fd fd,
                         const volume::FileHeader& header, const volume::GenerationKeys& keys)
    : context_(context),
      lower_(lower),
      fd_(std::move(fd)),
      owner_(context.keys),
      keys_(&keys),
      codec_(volume::ContentCodec::make(keys.content_root.bytes(), header.cipher, header.id,
                                        header.cut)),
      header_(header) {
    look_for_newer_keys();
}

Result<volume::FileHeader> Format1File::read_header(const Format1Context& context,
                                                    lower::LowerFs& lower, int fd) {
    ByteArray<volume::kFileHeaderSize> bytes;
    auto got = lower.pread(fd, bytes, 0);
    if (!got) return fail(got.error());
    auto report = [&](const std::string& what) {
        if (context.on_damage) context.on_damage(fd, what);
        return fail(ErrorKind::kDamaged);
    };
    if (*got < bytes.size()) return report("the file's header is cut off");
    auto generation = volume::peek_generation(bytes);
    if (!generation) return report("the file's header: " + generation.error().detail);
    const auto* keys = context.keys->generation(*generation);
    if (keys == nullptr) return report("the file's header names an unknown key generation");
    auto header = volume::decode_header(bytes, keys->header.bytes());
    if (!header) return report("the file's header: " + header.error().detail);
    return *header;
}

Result<std::shared_ptr<ContentFile>> Format1File::open(const Format1Context& context,
                                                       lower::LowerFs& lower, lower::Fd fd,
                                                       std::uint64_t lower_size) {
    auto header = read_header(context, lower, fd.get());
    if (!header) return std::unexpected(header.error());
    const auto* keys = context.keys->generation(header->key_generation);
    std::shared_ptr<Format1File> file(
        new Format1File(context, lower, std::move(fd), *header, *keys));
    // A clean mark is nobody's word: a file that does not look clean is mended before it changes.
    file->recovered_ = context.clean && lower_size == volume::hint_of_size(header->size);
    return file;
}

std::uint64_t Format1File::size() const {
    std::lock_guard lock(state_);
    return known_end_locked();
}

std::uint64_t Format1File::known_end_locked() const {
    return islands_.empty() ? header_.size : std::max(header_.size, islands_.rbegin()->second);
}

Error Format1File::damaged(std::uint64_t fragment, FragmentState state) const {
    if (context_.on_damage)
        context_.on_damage(fd_.get(), fmt::format("block {} {}", fragment / 2, describe(state)));
    return Error{ErrorKind::kDamaged};
}

Result<void> Format1File::load(std::uint64_t first, std::uint64_t last, std::uint64_t need_begin,
                               std::uint64_t need_end, MutBytes plain) {
    std::uint32_t epoch;
    bool sparse;
    {
        std::lock_guard lock(state_);
        epoch = header_.epoch;
        sparse = header_.sparse;
    }
    std::array<volume::OpenedFragment, kStatesInline> states;
    while (first <= last) {
        const std::uint64_t n = std::min<std::uint64_t>(last - first + 1, states.size());
        const auto begin = volume::fragment(first);
        const auto end = volume::fragment(first + n - 1);
        MutBytes cipher = cipher_buffer.take(end.cipher_off + end.cipher_size - begin.cipher_off);
        auto got = lower_.pread(fd_.get(), cipher, begin.cipher_off);
        if (!got) return fail(got.error());
        const std::size_t plain_size = end.plain_off + end.plain_size - begin.plain_off;
        auto opened = open_fragments(first, n, cipher.first(*got), epoch, sparse,
                                     plain.first(plain_size), std::span(states.data(), n));
        if (!opened) return opened;
        plain = plain.subspan(plain_size);
        for (std::uint64_t i = 0; i < n; ++i) {
            const auto where = volume::fragment(first + i);
            const std::uint64_t from = std::max(where.plain_off, need_begin);
            const std::uint64_t to = std::min(where.plain_off + where.plain_size, need_end);
            if (from >= to) continue;
            const bool good =
                states[i].state == FragmentState::kGood && where.plain_off + states[i].used >= to;
            // In a sparse file what is not there reads as zeros (FORMAT.md "Holes").
            const bool zeros = sparse && (states[i].state == FragmentState::kHole ||
                                          states[i].state == FragmentState::kGood);
            if (!good && !zeros) return std::unexpected(damaged(first + i, states[i].state));
        }
        first += n;
    }
    return {};
}

Result<void> Format1File::open_fragments(std::uint64_t first, std::uint64_t n, Bytes cipher,
                                         std::uint32_t epoch, bool sparse, MutBytes plain,
                                         std::span<volume::OpenedFragment> states) const {
    if (auto r = codec_.open(first, n, cipher, epoch, sparse, plain, states); !r)
        return fail(r.error());
    if (!next_codec_) return {};
    const auto base = volume::fragment(first);
    for (std::uint64_t i = 0; i < n; ++i) {
        if (states[i].state != FragmentState::kDamaged) continue;
        const auto piece = volume::fragment(first + i);
        const auto at = piece.cipher_off - base.cipher_off;
        const Bytes lower = at < cipher.size() ? cipher.subspan(at) : Bytes{};
        auto r = next_codec_->open(
            piece.number, 1, lower.first(std::min<std::size_t>(lower.size(), piece.cipher_size)),
            epoch, sparse, plain.subspan(piece.plain_off - base.plain_off, piece.plain_size),
            states.subspan(i, 1));
        if (!r) return fail(r.error());
    }
    return {};
}

Result<Bytes> Format1File::read(std::uint64_t off, std::size_t size, IoBuffer& buffer) {
    auto read_held = [&](std::uint64_t end) -> Result<Bytes> {
        const std::uint64_t first = volume::fragment_of(off);
        const std::uint64_t last = volume::fragment_of(end - 1);
        const auto head = volume::fragment(first);
        const auto tail = volume::fragment(last);
        MutBytes plain = buffer.take(tail.plain_off + tail.plain_size - head.plain_off);
        if (auto r = load(first, last, off, end, plain); !r) return std::unexpected(r.error());
        return Bytes(plain).subspan(off - head.plain_off, end - off);
    };
    auto end_now = [&] {
        std::lock_guard lock(state_);
        return std::min<std::uint64_t>(known_end_locked(), off + size);
    };
    if (std::uint64_t end = end_now(); off < end) {
        auto held = ranges_.acquire(volume::fragment_of(off), volume::fragment_of(end - 1),
                                    RangeAccess::kShared);
        bool settled;
        {
            std::lock_guard lock(state_);
            settled = islands_.empty() || end <= header_.size;
        }
        // A truncation may have come first while we waited for the range.
        if (settled) {
            end = std::min(end, end_now());
            return off < end ? read_held(end) : Bytes{};
        }
    } else {
        return Bytes{};
    }
    auto whole = ranges_.acquire_whole();
    if (auto r = settle_alone(); !r) return std::unexpected(r.error());
    const std::uint64_t end = end_now();
    return off < end ? read_held(end) : Bytes{};
}

Result<std::uint64_t> Format1File::seek(std::uint64_t off, int whence) {
    auto whole = ranges_.acquire_whole();
    if (auto r = settle_alone(); !r) return std::unexpected(r.error());
    std::uint64_t size;
    bool sparse;
    {
        std::lock_guard lock(state_);
        size = header_.size;
        sparse = header_.sparse;
    }
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(ErrorKind::kInvalid);
    if (off >= size) return fail(ErrorKind::kPastEnd);
    if (!sparse) return whence == SEEK_DATA ? off : size;
    auto number = seek_fragment(volume::fragment_of(off), size, whence);
    if (!number) return std::unexpected(number.error());
    const std::uint64_t plain = std::max(off, volume::fragment(*number).plain_off);
    if (plain < size) return plain;
    if (whence == SEEK_HOLE) return size;
    return fail(ErrorKind::kPastEnd);
}

// The first fragment from `number` on that is (or may be) data, or that is a hole for certain. A
// lower page that holds data and a hole counts as data: SEEK_HOLE may find fewer holes than there
// are, never more.
Result<std::uint64_t> Format1File::seek_fragment(std::uint64_t number, std::uint64_t size,
                                                 int whence) {
    // Zeroed pages that the lower file system calls data are looked into up to here.
    constexpr int kMostLooks = 1024;
    const std::uint64_t end = volume::fragment_count(size);
    for (int look = 0; number < end && look < kMostLooks; ++look, ++number) {
        const auto here = volume::fragment(number);
        auto found = lower_.seek(fd_.get(), here.cipher_off, whence);
        if (!found && found.error().value == ENXIO) return end;
        if (!found) return fail(found.error());
        if (*found > here.cipher_off) {
            const std::uint64_t block =
                (*found - volume::kFileHeaderSize) / volume::kCipherBlockSize;
            number = std::max(number, block * 2);
            if (whence == SEEK_HOLE) {
                while (volume::fragment(number).cipher_off < *found) ++number;
            } else {
                while (volume::fragment(number + 1).cipher_off <= *found) ++number;
            }
        }
        if (whence == SEEK_HOLE || number >= end) break;
        // The page may be there for its other fragment, or for the header.
        const auto there = volume::fragment(number);
        MutBytes bytes = cipher_buffer.take(there.cipher_size);
        auto got = lower_.pread(fd_.get(), bytes, there.cipher_off);
        if (!got) return fail(got.error());
        const bool hole = std::all_of(bytes.begin(), bytes.begin() + *got,
                                      [](std::byte b) { return b == std::byte{0}; });
        if (!hole) break;
    }
    return number;
}

bool Format1File::needs_settling() const {
    std::lock_guard lock(state_);
    return !islands_.empty() || hint_due_;
}

Result<void> Format1File::sync(bool data_only) {
    if (needs_settling()) {
        auto whole = ranges_.acquire_whole();
        if (auto r = settle_alone(); !r) return r;
    }
    std::uint64_t seen;
    {
        std::lock_guard lock(state_);
        seen = change_count_;
    }
    auto synced = data_only ? lower_.fdatasync(fd_.get()) : lower_.fsync(fd_.get());
    if (!synced) return fail(synced.error());
    std::lock_guard lock(state_);
    if (seen == change_count_) {
        header_durable_ = true;
        sparse_durable_ = header_.sparse;
        truncation_pending_ = false;
    }
    return {};
}

Result<void> Format1File::settle() {
    if (!needs_settling()) return {};
    auto whole = ranges_.acquire_whole();
    return settle_alone();
}

Result<void> Format1File::before_close() {
    bool pending;
    {
        std::lock_guard lock(state_);
        pending = truncation_pending_;
    }
    // Nobody would remember that growth has to wait for it.
    return pending ? sync(true) : settle();
}

Result<bool> Format1File::mend() {
    auto whole = ranges_.acquire_whole();
    return recover();
}

}  // namespace extencfs::core
