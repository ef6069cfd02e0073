// SPDX-License-Identifier: Apache-2.0
// Changing a file of an EncFS 1.x volume. The old last block is made whole before anything follows
// it, and what is new is written in one call where it can be.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "encfs/core/legacy_file.h"

namespace extencfs::core {

namespace {
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 62;
// Written together where a volume without holes needs zeros.
constexpr std::uint64_t kZeroBlocks = 64;

thread_local IoBuffer cipher_buffer;
thread_local IoBuffer plain_buffer;
}  // namespace

Result<void> LegacyFile::write_header() {
    auto header = context_.codec.encode_header(file_iv_, path_iv_);
    if (!header) return fail(header.error());
    if (auto r = lower_.pwrite(fd(), *header, 0); !r) return fail(r.error());
    has_header_ = true;
    return {};
}

Result<void> LegacyFile::encode(std::uint64_t first, Bytes plain, MutBytes out) const {
    for (std::uint64_t block = first; !plain.empty(); ++block) {
        const Bytes here = plain.first(std::min(plain.size(), layout().data_size()));
        const MutBytes to = out.first(here.size() + layout().overhead());
        if (auto r = context_.codec.encode_block(block, file_iv_, here, to); !r)
            return fail(r.error());
        plain = plain.subspan(here.size());
        out = out.subspan(to.size());
    }
    return {};
}

Result<void> LegacyFile::encode_and_write(std::uint64_t first, Bytes plain) {
    if (layout().plain) {
        if (auto r = lower_.pwrite(fd(), plain, layout().block_offset(first)); !r)
            return fail(r.error());
        return {};
    }
    const std::size_t data = layout().data_size(), overhead = layout().overhead();
    // With the header in the same call, if it can be.
    const bool with_header = !has_header_ && first == 0;
    if (!has_header_ && !with_header) {
        if (auto r = write_header(); !r) return r;
    }
    const std::size_t header_size = with_header ? layout().header_size() : 0;
    const std::uint64_t blocks = (plain.size() - 1) / data + 1;
    const MutBytes out = cipher_buffer.take(header_size + plain.size() + blocks * overhead);
    if (with_header) {
        auto header = context_.codec.encode_header(file_iv_, path_iv_);
        if (!header) return fail(header.error());
        std::ranges::copy(*header, out.begin());
    }
    if (auto r = encode(first, plain, out.subspan(header_size)); !r) return r;
    const std::uint64_t at = with_header ? 0 : layout().block_offset(first);
    if (auto r = lower_.pwrite(fd(), out, at); !r) return fail(r.error());
    if (with_header) has_header_ = true;  // a file without one is empty: the whole of it is held
    return {};
}

Result<void> LegacyFile::load_for_change(std::uint64_t block, MutBytes plain) {
    const std::uint64_t begin = block * layout().data_size();
    const std::uint64_t size = size_;
    const std::uint64_t there =
        size > begin ? std::min<std::uint64_t>(size - begin, layout().data_size()) : 0;
    // The caller may want less than is there (a file that becomes shorter), never a part of it.
    std::array<std::byte, 4096> small;
    ByteVector large;
    MutBytes whole = plain;
    if (there > plain.size()) {
        if (there > small.size()) large.resize(there);
        whole = there > small.size() ? MutBytes(large) : MutBytes(small);
    }
    if (auto r = load(block, whole.first(there)); !r) return r;
    if (whole.data() != plain.data()) std::memcpy(plain.data(), whole.data(), plain.size());
    if (there < plain.size()) std::ranges::fill(plain.subspan(there), std::byte{0});
    return {};
}

Result<void> LegacyFile::store(std::uint64_t off, Bytes in, std::uint64_t size) {
    const std::uint64_t data = layout().data_size();
    const std::uint64_t end = off + in.size();
    const std::uint64_t first = off / data, last = (end - 1) / data;
    const std::uint64_t begin = first * data;
    const std::uint64_t blocks_end = std::min((last + 1) * data, size);
    if (off == begin && end == blocks_end) return encode_and_write(first, in);
    const MutBytes plain = plain_buffer.take(blocks_end - begin);
    const std::size_t head = std::min<std::uint64_t>(data, plain.size());
    if (off != begin) {
        if (auto r = load_for_change(first, plain.first(head)); !r) return r;
    }
    if (end != blocks_end && (last != first || off == begin)) {
        if (auto r = load_for_change(last, plain.subspan((last - first) * data)); !r) return r;
    }
    std::memcpy(plain.data() + (off - begin), in.data(), in.size());
    return encode_and_write(first, plain);
}

template <typename Act>
Result<void> LegacyFile::or_as_before(const Act& change) {
    const std::uint64_t old = size_;
    const std::uint64_t tail_at = layout().block_offset(old / layout().data_size());
    ByteVector tail;
    if (const std::uint64_t rest = old % layout().data_size(); rest != 0) {
        tail.resize(rest + layout().overhead());
        auto got = lower_.pread(fd(), tail, tail_at);
        if (!got) return fail(got.error());
    }
    auto done = change();
    if (done) return done;
    // A failure here leaves what a crash would leave.
    if (!tail.empty()) (void)lower_.pwrite(fd(), tail, tail_at);
    (void)lower_.truncate(fd(), has_header_ ? legacy::lower_size(layout(), old) : 0);
    return done;
}

Result<void> LegacyFile::write(std::uint64_t off, Bytes in, WriteSource) {
    if (in.empty()) return {};
    if (off > kMostBytes || in.size() > kMostBytes - off) return fail(ErrorKind::kTooBig);
    const std::uint64_t data = layout().data_size();
    const std::uint64_t end = off + in.size();
    if (end <= size_) {
        const auto held = ranges_.acquire(off / data, (end - 1) / data, RangeAccess::kExclusive);
        const std::uint64_t size = size_;  // a truncation may have come first
        if (end <= size) return store(off, in, size);
    }
    const auto held = ranges_.acquire_whole();
    const std::uint64_t old = size_;
    if (end <= old) return store(off, in, old);
    auto done = or_as_before([&] {
        auto r = off > old ? pad(off) : Result<void>{};
        return r ? store(off, in, end) : r;
    });
    if (done) size_ = end;
    return done;
}

// ---- sizes ----

Result<void> LegacyFile::pad(std::uint64_t size) {
    const std::uint64_t data = layout().data_size();
    const std::uint64_t old = size_;
    const std::uint64_t tail = old / data, until = size / data;
    if (tail >= until) return {};
    std::uint64_t next = tail;
    if (old % data != 0) {
        const MutBytes plain = plain_buffer.take(data);
        if (auto r = load_for_change(tail, plain); !r) return r;
        if (auto r = encode_and_write(tail, plain); !r) return r;
        ++next;
    }
    if (layout().holes || layout().plain) return {};
    const ByteVector zeros(std::min(kZeroBlocks, until - next) * data);
    while (next < until) {
        const std::uint64_t blocks = std::min(kZeroBlocks, until - next);
        if (auto r = encode_and_write(next, Bytes(zeros).first(blocks * data)); !r) return r;
        next += blocks;
    }
    return {};
}

Result<void> LegacyFile::grow(std::uint64_t size) {
    const std::uint64_t data = layout().data_size();
    const auto cut_to_size = [&]() -> Result<void> {
        if (auto r = lower_.truncate(fd(), legacy::lower_size(layout(), size)); !r)
            return fail(r.error());
        return {};
    };
    auto grown = or_as_before([&]() -> Result<void> {
        if (layout().plain) return cut_to_size();
        if (auto r = pad(size); !r) return r;
        // What is left lies in one block.
        const std::uint64_t from = std::max<std::uint64_t>(size_, size / data * data);
        if (from < size) return store(from, ByteVector(size - from), size);
        if (!has_header_) {
            if (auto r = write_header(); !r) return r;
        }
        return cut_to_size();
    });
    if (grown) size_ = size;
    return grown;
}

Result<void> LegacyFile::shrink(std::uint64_t size) {
    const std::uint64_t data = layout().data_size();
    const std::uint64_t rest = size % data;
    if (rest == 0 || layout().plain) {
        if (auto r = lower_.truncate(fd(), legacy::lower_size(layout(), size)); !r)
            return fail(r.error());
    } else {
        const MutBytes plain = plain_buffer.take(rest);
        if (auto r = load_for_change(size / data, plain); !r) return r;
        const MutBytes block = cipher_buffer.take(rest + layout().overhead());
        if (auto r = encode(size / data, plain, block); !r) return r;
        const std::uint64_t at = layout().block_offset(size / data);
        if (auto r = context_.tail->cut(lower_, fd(), at, block); !r) return r;
    }
    size_ = size;
    return {};
}

Result<void> LegacyFile::truncate(std::uint64_t size) {
    if (size > kMostBytes) return fail(ErrorKind::kTooBig);
    const auto held = ranges_.acquire_whole();
    const std::uint64_t old = size_;
    if (size == old) return {};
    return size < old ? shrink(size) : grow(size);
}

// ---- holes ----

Result<void> LegacyFile::punch_blocks(std::uint64_t first, std::uint64_t end) {
    const std::uint64_t from = layout().block_offset(first);
    const std::uint64_t size = layout().block_offset(end) - from;
    auto punched = lower_.fallocate(fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, from, size);
    if (!punched) return fail(punched.error());
    return {};
}

Result<void> LegacyFile::zero(std::uint64_t off, std::uint64_t size) {
    const std::uint64_t data = layout().data_size();
    const std::uint64_t known = size_;
    if (off >= known) return {};
    const std::uint64_t end = std::min(off + size, known);
    std::uint64_t first = (off + data - 1) / data, until = end / data;
    const auto store_zeros = [&](std::uint64_t from, std::uint64_t to) -> Result<void> {
        const ByteVector zeros(std::min(to - from, kZeroBlocks * data));
        while (from < to) {
            const Bytes some = Bytes(zeros).first(std::min<std::uint64_t>(zeros.size(), to - from));
            if (auto r = store(from, some, known); !r) return r;
            from += some.size();
        }
        return {};
    };
    const bool sparse = layout().holes || layout().plain;
    if (!sparse || first >= until) return store_zeros(off, end);
    if (auto r = store_zeros(off, first * data); !r) return r;
    if (auto r = punch_blocks(first, until); !r) return r;
    return store_zeros(until * data, end);
}

Result<void> LegacyFile::allocate(int mode, std::uint64_t off, std::uint64_t size) {
    if (size == 0) return fail(ErrorKind::kInvalid);
    if (off > kMostBytes || size > kMostBytes - off) return fail(ErrorKind::kTooBig);
    const auto held = ranges_.acquire_whole();
    const std::uint64_t data = layout().data_size();
    const std::uint64_t end = off + size;
    const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    switch (mode & ~FALLOC_FL_KEEP_SIZE) {
        case 0: {
            const std::uint64_t from = layout().block_offset(off / data);
            const std::uint64_t to = layout().block_offset((end - 1) / data + 1);
            auto r = lower_.fallocate(fd(), FALLOC_FL_KEEP_SIZE, from, to - from);
            if (!r) return fail(r.error());
            break;
        }
        case FALLOC_FL_PUNCH_HOLE:
            if (!keep_size) return fail(ErrorKind::kUnsupported);
            return zero(off, size);
        case FALLOC_FL_ZERO_RANGE:
            if (auto r = zero(off, size); !r) return r;
            break;
        default:
            return fail(ErrorKind::kUnsupported);
    }
    return keep_size || end <= size_ ? Result<void>{} : grow(end);
}

}  // namespace extencfs::core
