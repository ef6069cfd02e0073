// SPDX-License-Identifier: Apache-2.0
// Opening, reading, seeking and syncing.
#include "encfs/core/legacy_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "crypto/random.h"

namespace extencfs::core {

using legacy::BlockState;

namespace {
// Ciphertext of the operation in progress.
thread_local IoBuffer cipher_buffer;
}  // namespace

Result<void> LegacyFile::choose_iv() {
    has_header_ = layout().header_size() == 0;
    while (!has_header_ && file_iv_ == 0) {
        if (!crypto::fill_random(std::as_writable_bytes(std::span(&file_iv_, 1))))
            return fail(ErrorKind::kInternal);
    }
    return {};
}

Result<std::shared_ptr<LegacyFile>> LegacyFile::create(const LegacyContext& context,
                                                       lower::LowerFs& lower, lower::Fd fd,
                                                       std::uint64_t path_iv) {
    return open(context, lower, std::move(fd), 0, path_iv);
}

Result<std::shared_ptr<LegacyFile>> LegacyFile::open(const LegacyContext& context,
                                                     lower::LowerFs& lower, lower::Fd fd,
                                                     std::uint64_t lower_size,
                                                     std::uint64_t path_iv) {
    const auto size = legacy::plain_size(context.codec.layout(), lower_size);
    if (!size) {
        if (context.on_damage) context.on_damage(fd.get(), "the file's header is cut off");
        return fail(ErrorKind::kDamaged);
    }
    std::shared_ptr<LegacyFile> file(new LegacyFile(context, lower, std::move(fd)));
    file->size_ = *size;
    file->path_iv_ = path_iv;
    if (lower_size == 0) {
        if (auto r = file->choose_iv(); !r) return std::unexpected(r.error());
        return file;
    }
    if (context.codec.layout().header_size() == 0) return file;
    ByteArray<legacy::kFileHeaderSize> header;
    auto got = lower.pread(file->fd(), header, 0);
    if (!got) return fail(got.error());
    if (*got < header.size()) return std::unexpected(file->damaged(0, "is cut off"));
    auto file_iv = context.codec.decode_header(header, path_iv);
    if (!file_iv) return fail(file_iv.error());
    file->file_iv_ = *file_iv;
    return file;
}

Error LegacyFile::damaged(std::uint64_t block, const char* how) const {
    if (context_.on_damage) context_.on_damage(fd(), fmt::format("block {} {}", block, how));
    return Error{ErrorKind::kDamaged};
}

// ---- reading ----

Result<void> LegacyFile::decode(std::uint64_t first, MutBytes lower, MutBytes plain) const {
    const std::size_t overhead = layout().overhead();
    for (std::uint64_t block = first; !lower.empty(); ++block) {
        const MutBytes here = lower.first(std::min<std::size_t>(lower.size(), layout().block_size));
        auto state = context_.codec.decode_block(block, file_iv_, here);
        if (!state) return fail(state.error());
        if (*state == BlockState::kDamaged)
            return std::unexpected(damaged(block, "does not match its checksum"));
        const Bytes data = here.subspan(overhead);
        if (overhead != 0) std::memcpy(plain.data(), data.data(), data.size());
        plain = plain.subspan(data.size());
        lower = lower.subspan(here.size());
    }
    return {};
}

Result<void> LegacyFile::load(std::uint64_t first, MutBytes plain) {
    if (plain.empty()) return {};
    const std::uint64_t blocks = (plain.size() - 1) / layout().data_size() + 1;
    const std::size_t lower_size = plain.size() + blocks * layout().overhead();
    const MutBytes lower = layout().overhead() == 0 ? plain : cipher_buffer.take(lower_size);
    auto got = lower_.pread(fd(), lower, layout().block_offset(first));
    if (!got) return fail(got.error());
    if (*got < lower.size())
        return std::unexpected(damaged(first + *got / layout().block_size, "is cut off"));
    return layout().plain ? Result<void>{} : decode(first, lower, plain);
}

Result<Bytes> LegacyFile::read(std::uint64_t off, std::size_t size, IoBuffer& buffer) {
    const std::uint64_t data = layout().data_size();
    std::uint64_t known = size_;
    if (size == 0 || off >= known) return Bytes{};
    const std::uint64_t last = (std::min<std::uint64_t>(known, off + size) - 1) / data;
    const auto held = ranges_.acquire(off / data, last, RangeAccess::kShared);
    // A truncation may have come first while we waited for the range.
    known = size_;
    if (off >= known) return Bytes{};
    const std::uint64_t end = std::min({known, off + size, (last + 1) * data});
    const std::uint64_t begin = off / data * data;
    const MutBytes plain = buffer.take(std::min((last + 1) * data, known) - begin);
    if (auto r = load(off / data, plain); !r) return std::unexpected(r.error());
    return Bytes(plain).subspan(off - begin, end - off);
}

// Whole blocks only: a hole that covers part of one is none above.
Result<std::uint64_t> LegacyFile::seek(std::uint64_t off, int whence) {
    if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(ErrorKind::kInvalid);
    const auto held = ranges_.acquire(0, RangeLock::kWholeFile, RangeAccess::kShared);
    const std::uint64_t size = size_;
    if (off >= size) return fail(ErrorKind::kPastEnd);
    if (!layout().holes && !layout().plain) return whence == SEEK_DATA ? off : size;
    const std::uint64_t data = layout().data_size();
    const auto found_at = [&](std::uint64_t block) { return std::max(off, block * data); };
    std::uint64_t from = layout().block_offset(off / data);
    for (;;) {
        auto lower_data = lower_.seek(fd(), from, SEEK_DATA);
        const bool none = !lower_data && lower_data.error().value == ENXIO;
        if (!lower_data && !none) return fail(lower_data.error());
        const std::uint64_t block =
            none ? (size - 1) / data + 1
                 : (*lower_data - layout().header_size()) / layout().block_size;
        if (whence == SEEK_DATA) {
            if (none || found_at(block) >= size) return fail(ErrorKind::kPastEnd);
            return found_at(block);
        }
        // From `from`, which is a block's beginning, to the data lies a hole.
        const std::uint64_t here = (from - layout().header_size()) / layout().block_size;
        if (block > here) return std::min(found_at(here), size);
        auto lower_hole = lower_.seek(fd(), *lower_data, SEEK_HOLE);
        if (!lower_hole) return fail(lower_hole.error());
        const std::uint64_t next =
            (*lower_hole - layout().header_size() + layout().block_size - 1) / layout().block_size;
        if (next * data >= size) return size;
        from = layout().block_offset(next);
    }
}

Result<void> LegacyFile::sync(bool data_only) {
    auto synced = data_only ? lower_.fdatasync(fd()) : lower_.fsync(fd());
    if (!synced) return fail(synced.error());
    return {};
}

}  // namespace extencfs::core
