// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/legacy_reverse_file.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace extencfs::core {

namespace {
constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 62;
}  // namespace

std::uint64_t shown_size(const legacy::ContentLayout& layout, std::uint64_t size) {
    return size == 0 ? 0 : legacy::lower_size(layout, size);
}

// ---- reading ----

Result<std::uint64_t> ReverseFile::plain_size() {
    auto is = lower_.stat(fd());
    if (!is) return fail(is.error());
    return static_cast<std::uint64_t>(is->st_size);
}

Result<void> ReverseFile::encode(std::uint64_t first, MutBytes out) {
    auto got = lower_.pread(fd(), out, first * block_size());
    if (!got) return fail(got.error());
    // It became shorter just now: the next look will see a new size.
    if (*got < out.size()) return fail(ErrorKind::kStale);
    if (codec_->layout().plain) return {};
    for (std::uint64_t block = first; !out.empty(); ++block) {
        const MutBytes here = out.first(std::min(out.size(), block_size()));
        if (auto r = codec_->encode_block(block, file_iv_, here, here); !r) return fail(r.error());
        out = out.subspan(here.size());
    }
    return {};
}

Result<Bytes> ReverseFile::read(std::uint64_t off, std::size_t size, IoBuffer& buffer) {
    const std::shared_lock reading(writing_);
    const auto known = plain_size();
    if (!known) return std::unexpected(known.error());
    const std::uint64_t shown = codec_ == nullptr ? *known : shown_size(codec_->layout(), *known);
    if (off >= shown) return Bytes{};
    const std::uint64_t end = std::min<std::uint64_t>(shown, off + size);
    if (codec_ == nullptr || codec_->layout().plain) {
        const MutBytes bytes = buffer.take(end - off);
        auto got = lower_.pread(fd(), bytes, off);
        if (!got) return fail(got.error());
        return Bytes(bytes).first(*got);
    }
    const std::size_t header = codec_->layout().header_size();
    // Whole blocks, the header before them if it is wanted.
    const std::uint64_t first = off < header ? 0 : (off - header) / block_size();
    const std::uint64_t until = end <= header ? 0 : (end - header - 1) / block_size() + 1;
    const std::uint64_t blocks_end = std::min(until * block_size(), *known);
    const std::size_t lead = off < header ? header : 0;
    const MutBytes bytes =
        buffer.take(lead + (blocks_end - std::min(first * block_size(), blocks_end)));
    if (lead > 0) {
        auto coded = codec_->encode_header(file_iv_, 0);
        if (!coded) return fail(coded.error());
        std::ranges::copy(*coded, bytes.begin());
    }
    if (bytes.size() > lead) {
        if (auto r = encode(first, bytes.subspan(lead)); !r) return std::unexpected(r.error());
    }
    const std::uint64_t begin = lead > 0 ? 0 : header + first * block_size();
    return Bytes(bytes).subspan(off - begin, end - off);
}

Result<std::uint64_t> ReverseFile::seek(std::uint64_t off, int whence) {
    if (off >= size_) return fail(ErrorKind::kPastEnd);
    return whence == SEEK_DATA ? off : size_.load();
}

// ---- writing ----

Result<void> ReverseFile::put(std::uint64_t first, MutBytes shown) {
    MutBytes left = codec_->layout().plain ? MutBytes() : shown;
    for (std::uint64_t block = first; !left.empty(); ++block) {
        const MutBytes here = left.first(std::min(left.size(), block_size()));
        if (auto r = codec_->decode_block(block, file_iv_, here); !r) return fail(r.error());
        left = left.subspan(here.size());
    }
    if (auto r = lower_.pwrite(fd(), shown, first * block_size()); !r) return fail(r.error());
    return {};
}

Result<void> ReverseFile::get(std::uint64_t block, std::uint64_t size, MutBytes out) {
    const std::uint64_t begin = block * block_size();
    const std::uint64_t there =
        size > begin ? std::min<std::uint64_t>(size - begin, block_size()) : 0;
    ByteVector whole(there);
    if (auto r = encode(block, whole); !r) return r;
    const std::size_t taken = std::min<std::size_t>(there, out.size());
    std::copy_n(whole.begin(), taken, out.begin());
    std::ranges::fill(out.subspan(taken), std::byte{0});
    return {};
}

Result<void> ReverseFile::store(std::uint64_t off, Bytes in, std::uint64_t size) {
    const std::uint64_t end = off + in.size();
    const std::uint64_t first = off / block_size(), last = (end - 1) / block_size();
    const std::uint64_t begin = first * block_size();
    ByteVector shown(std::min((last + 1) * block_size(), std::max(size, end)) - begin);
    const MutBytes all(shown);
    if (off != begin) {
        if (auto r = get(first, size, all.first(std::min(all.size(), block_size()))); !r) return r;
    }
    if (end != begin + all.size() && (last != first || off == begin)) {
        if (auto r = get(last, size, all.subspan((last - first) * block_size())); !r) return r;
    }
    std::memcpy(shown.data() + (off - begin), in.data(), in.size());
    return put(first, all);
}

Result<void> ReverseFile::pad(std::uint64_t size, std::uint64_t until) {
    std::uint64_t block = size / block_size();
    const std::uint64_t last = until / block_size();
    if (block >= last) return {};
    ByteVector shown(block_size());
    if (size % block_size() != 0) {
        if (auto r = get(block, size, shown); !r) return r;
        if (auto r = put(block, shown); !r) return r;
        ++block;
    }
    // A block of zeros stands for zeros where holes do.
    if (codec_->layout().holes || codec_->layout().plain) return {};
    for (; block < last; ++block) {
        std::ranges::fill(shown, std::byte{0});
        if (auto r = put(block, shown); !r) return r;
    }
    return {};
}

Result<void> ReverseFile::write(std::uint64_t off, Bytes in, WriteSource) {
    if (!writable_) return fail(ErrorKind::kReadOnly);
    if (in.empty()) return {};
    if (off > kMostBytes || in.size() > kMostBytes - off) return fail(ErrorKind::kTooBig);
    const std::lock_guard alone(writing_);
    const auto size = plain_size();
    if (!size) return std::unexpected(size.error());
    if (auto r = pad(*size, off); !r) return r;
    // Padding made the blocks before this one whole.
    const std::uint64_t known = std::max(*size, off / block_size() * block_size());
    if (auto r = store(off, in, known); !r) return r;
    size_ = std::max(*size, off + in.size());
    return {};
}

Result<void> ReverseFile::shrink(std::uint64_t size) {
    const std::uint64_t block = size / block_size(), rest = size % block_size();
    ByteVector before;
    if (rest != 0 && !codec_->layout().plain) {
        before.resize(rest);
        if (auto got = lower_.pread(fd(), before, block * block_size()); !got)
            return fail(got.error());
        const auto old = plain_size();
        if (!old) return std::unexpected(old.error());
        ByteVector shown(rest);
        if (auto r = get(block, *old, shown); !r) return r;
        if (auto r = put(block, shown); !r) return r;
    }
    auto cut = lower_.truncate(fd(), size);
    if (cut) return {};
    if (!before.empty()) (void)lower_.pwrite(fd(), before, block * block_size());
    return fail(cut.error());
}

Result<void> ReverseFile::truncate(std::uint64_t size) {
    if (!writable_) return fail(ErrorKind::kReadOnly);
    if (size > kMostBytes) return fail(ErrorKind::kTooBig);
    const std::lock_guard alone(writing_);
    const auto old = plain_size();
    if (!old) return std::unexpected(old.error());
    auto done = Result<void>{};
    if (size < *old) {
        done = shrink(size);
    } else if (size > *old) {
        done = pad(*old, size);
        const std::uint64_t begin = size / block_size() * block_size();
        const std::uint64_t from = std::max(*old, begin);
        if (done && from < size) done = store(from, ByteVector(size - from), from);
        if (done && from >= size) {
            if (auto r = lower_.truncate(fd(), size); !r) done = fail(r.error());
        }
    }
    if (done) size_ = size;
    return done;
}

Result<void> ReverseFile::allocate(int, std::uint64_t, std::uint64_t) {
    return fail(writable_ ? ErrorKind::kUnsupported : ErrorKind::kReadOnly);
}

Result<void> ReverseFile::sync(bool data_only) {
    if (!writable_) return {};
    auto synced = data_only ? lower_.fdatasync(fd()) : lower_.fsync(fd());
    if (!synced) return fail(synced.error());
    return {};
}

}  // namespace extencfs::core
