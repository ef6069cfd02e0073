// SPDX-License-Identifier: Apache-2.0
// Changing a file's size, its holes, and recovery: as format1_file_write.cc, by FORMAT.md "Writer
// rules".
#include <linux/falloc.h>

#include <algorithm>
#include <array>

#include "encfs/core/format1_file.h"
#include "encfs/core/own_change.h"

namespace extencfs::core {

namespace {

constexpr std::uint64_t kDenseGap = 64 * 1024;  // gaps below this are sealed zeros, not holes
constexpr std::size_t kMaxFragmentPlain = 4064;
const std::array<std::byte, kDenseGap> kZeros{};

std::uint64_t page_end(std::uint64_t off) {
    return (off + volume::kLowerPageSize - 1) / volume::kLowerPageSize * volume::kLowerPageSize;
}

}  // namespace

// ---- size ----

Result<void> Format1File::settle_alone() {
    if (!needs_settling()) return {};
    auto change = OwnChange::begin(context_.sink, lower_, fd_.get());
    if (!change) return std::unexpected(change.error());
    for (;;) {
        std::uint64_t size, begin, end;
        {
            std::lock_guard lock(state_);
            if (islands_.empty()) {
                if (recovered_ || !hint_due_) return set_hint_locked();
                break;
            }
            size = header_.size;
            begin = islands_.begin()->first;
            end = islands_.begin()->second;
        }
        // Invariant: an island never touches the size (advance() joins them).
        // Between them are holes. The lower file is long enough already: no truncation, which would
        // cut the islands off.
        if (auto r = reseal_tail(begin, size); !r) return r;
        std::lock_guard lock(state_);
        const bool holes = volume::fragment_count(begin) > volume::fragment_count(size);
        if (auto r = commit_locked(end, header_.epoch, header_.sparse || holes); !r) return r;
        islands_.erase(islands_.begin());
    }
    // A change that failed may have left bytes which the hint's st_size would cover.
    if (auto r = recover(); !r) return std::unexpected(r.error());
    std::lock_guard lock(state_);
    return set_hint_locked();
}

Result<void> Format1File::prepare_change() {
    // Islands first: recovery cuts off what lies beyond the size.
    if (auto r = settle_alone(); !r) return r;
    if (auto r = recover(); !r) return std::unexpected(r.error());
    return {};
}

Result<void> Format1File::reseal_tail(std::uint64_t size, std::uint64_t keep) {
    if (keep == 0) return {};
    const std::uint64_t number = volume::fragment_of(keep - 1);
    const auto where = volume::fragment(number);
    if (keep == where.plain_off + where.plain_size) return {};
    std::array<std::byte, kMaxFragmentPlain> plain_bytes;
    MutBytes plain(plain_bytes.data(), where.plain_size);
    if (auto r = load(number, number, where.plain_off, keep, plain); !r) return r;
    std::uint32_t epoch;
    bool sparse;
    {
        std::lock_guard lock(state_);
        epoch = header_.epoch;
        sparse = header_.sparse;
    }
    // Judged before anything is cut off: a data fragment may be zeros up to `keep` and not beyond.
    const bool hole = sparse && std::all_of(plain.begin(), plain.end(),
                                            [](std::byte b) { return b == std::byte{0}; });
    const auto beyond = plain.subspan(keep - where.plain_off);
    std::fill(beyond.begin(), beyond.end(), std::byte{0});
    if (hole) return {};
    return seal_and_write(number, 1, plain, size, epoch);
}

Result<void> Format1File::grow(std::uint64_t size) {
    std::uint64_t old;
    bool pending;
    std::uint32_t epoch;
    {
        std::lock_guard lock(state_);
        old = header_.size;
        pending = truncation_pending_;
        epoch = header_.epoch;
    }
    if (pending) {
        if (auto r = make_truncation_durable(); !r) return r;
    }
    if (size - old < kDenseGap) {
        if (auto r = store(old, Bytes(kZeros).first(size - old), epoch); !r) {
            std::lock_guard lock(state_);
            abandon_growth_locked();
            return r;
        }
        return advance(old, size, epoch, Counted::kNo);
    }
    if (auto r = reseal_tail(size, old); !r) return r;
    std::lock_guard lock(state_);
    const bool sparse = header_.sparse;
    if (auto r = commit_locked(size, epoch, true); !r) return r;
    auto r = set_hint_locked();
    // The lower file system does not take files of that size: as it was before.
    if (!r) (void)commit_locked(old, epoch, sparse);
    return r;
}

Result<void> Format1File::shrink(std::uint64_t size) {
    {
        std::lock_guard lock(state_);
        if (auto r = commit_locked(size, header_.epoch, header_.sparse); !r) return r;
        truncation_pending_ = true;
    }
    auto unfinished = [this](Error error) -> Result<void> {
        std::lock_guard lock(state_);
        recovered_ = false;  // what is cut off may still be there: before the next change
        return std::unexpected(error);
    };
    if (auto r = reseal_tail(size, size); !r) return unfinished(r.error());
    // Exactly to the end of the last fragment, so that nothing of what follows it in its page
    // comes back when the file grows.
    if (auto r = lower_.truncate(fd_.get(), volume::data_end(size)); !r)
        return unfinished(Error{ErrorKind::kLower, r.error().value});
    std::lock_guard lock(state_);
    ++change_count_;
    truncation_pending_ = true;
    hint_due_ = true;
    return set_hint_locked();
}

Result<void> Format1File::make_empty() {
    {
        std::lock_guard lock(state_);
        if (header_.cut == ~std::uint32_t{0}) return fail(ErrorKind::kTooBig);
        const auto was = header_;
        const auto* keys_before = keys_;
        header_.cut += 1;
        // Nothing of the older ones is left in it.
        take_newer_keys();
        if (auto r = commit_locked(0, header_.epoch, false); !r) {
            header_ = was;
            keys_ = keys_before;
            return r;
        }
        sparse_durable_ = false;
        codec_ = volume::ContentCodec::make(keys_->content_root.bytes(), header_.cipher, header_.id,
                                            header_.cut);
        look_for_newer_keys();
        truncation_pending_ = false;
    }
    auto cut = lower_.truncate(fd_.get(), volume::data_end(0));
    std::lock_guard lock(state_);
    if (!cut) {
        recovered_ = false;  // what should be cut off is still there: before the next change
        return fail(cut.error());
    }
    hint_due_ = false;  // the size hint of an empty file is its data's end
    return {};
}

Result<void> Format1File::truncate(std::uint64_t size) {
    if (size > volume::kMaxFileSize) return fail(ErrorKind::kTooBig);
    auto whole = ranges_.acquire_whole();
    if (auto r = prepare_change(); !r) return r;
    std::uint64_t old;
    {
        std::lock_guard lock(state_);
        old = header_.size;
    }
    if (size == old) return {};
    if (size == 0) return make_empty();
    return size < old ? shrink(size) : grow(size);
}

Result<bool> Format1File::recover() {
    std::uint64_t size;
    {
        std::lock_guard lock(state_);
        if (recovered_) return false;
        size = header_.size;
    }
    auto change = OwnChange::begin(context_.sink, lower_, fd_.get());
    if (!change) return std::unexpected(change.error());
    auto lower_stat = lower_.stat(fd_.get());
    if (!lower_stat) return fail(lower_stat.error());
    bool wrong = static_cast<std::uint64_t>(lower_stat->st_size) != volume::hint_of_size(size);
    // What lies between the last fragment and the end of its page, or st_size as it should be,
    // belongs to no fragment yet.
    const std::uint64_t data_end = volume::data_end(size);
    const std::uint64_t rest_end = std::max(page_end(data_end), volume::hint_of_size(size));
    std::array<std::byte, 2 * volume::kLowerPageSize> rest;
    auto got = lower_.pread(fd_.get(), MutBytes(rest).first(rest_end - data_end), data_end);
    if (!got) return fail(got.error());
    wrong = wrong || std::any_of(rest.begin(), rest.begin() + *got,
                                 [](std::byte b) { return b != std::byte{0}; });
    // A tail sealed for a longer file: an append whose header never came.
    const std::uint64_t number = size == 0 ? 0 : volume::fragment_of(size - 1);
    const auto where = volume::fragment(number);
    if (size != 0 && size != where.plain_off + where.plain_size) {
        std::array<std::byte, volume::kLowerPageSize> cipher, plain;
        auto tail =
            lower_.pread(fd_.get(), MutBytes(cipher).first(where.cipher_size), where.cipher_off);
        if (!tail) return fail(tail.error());
        volume::OpenedFragment opened{};
        if (auto r =
                open_fragments(number, 1, Bytes(cipher).first(*tail), header_.epoch, header_.sparse,
                               MutBytes(plain).first(where.plain_size), std::span(&opened, 1));
            !r)
            return std::unexpected(r.error());
        if (opened.state == volume::FragmentState::kGood && where.plain_off + opened.used > size) {
            wrong = true;
            if (auto r = reseal_tail(size, size); !r) return std::unexpected(r.error());
        }
    }
    if (wrong) {
        if (auto r = lower_.truncate(fd_.get(), data_end); !r) return fail(r.error());
        std::lock_guard lock(state_);
        ++change_count_;
        truncation_pending_ = true;
        hint_due_ = true;
    }
    std::lock_guard lock(state_);
    recovered_ = true;
    if (auto r = set_hint_locked(); !r) return std::unexpected(r.error());
    return wrong;
}

// ---- holes ----

Result<void> Format1File::punch(std::uint64_t off, std::uint64_t size) {
    std::uint64_t file_size;
    bool flag_durable;
    std::uint32_t epoch;
    {
        std::lock_guard lock(state_);
        file_size = header_.size;
        flag_durable = header_.sparse && sparse_durable_;
        epoch = header_.epoch;
    }
    if (off >= file_size) return {};
    const std::uint64_t end = std::min(file_size, off + size);
    std::uint64_t first = volume::fragment_of(off);
    if (volume::fragment(first).plain_off != off) ++first;
    const std::uint64_t last =  // exclusive
        end == file_size ? volume::fragment_count(file_size) : volume::fragment_of(end);
    auto zero = [&](std::uint64_t from, std::uint64_t to) -> Result<void> {
        if (from >= to) return {};
        return store(from, Bytes(kZeros).first(to - from), epoch);
    };
    if (first >= last) return zero(off, end);  // below two fragments: less than 8 KiB
    if (auto r = zero(off, volume::fragment(first).plain_off); !r) return r;
    const auto last_hole = volume::fragment(last - 1);
    if (auto r = zero(std::min(end, last_hole.plain_off + last_hole.plain_size), end); !r) return r;
    // A hole must never be on disk before the flag that allows it.
    if (!flag_durable) {
        {
            std::lock_guard lock(state_);
            if (auto r = commit_locked(file_size, epoch, true); !r) return r;
        }
        if (auto r = make_truncation_durable(); !r) return r;
    }
    const auto first_hole = volume::fragment(first);
    const std::uint64_t lower_end = last_hole.cipher_off + last_hole.cipher_size;
    auto r = lower_.fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                              first_hole.cipher_off, lower_end - first_hole.cipher_off);
    if (!r) return fail(r.error());
    return {};
}

Result<void> Format1File::allocate(int mode, std::uint64_t off, std::uint64_t size) {
    if (size == 0) return fail(ErrorKind::kInvalid);
    if (off > volume::kMaxFileSize || size > volume::kMaxFileSize - off)
        return fail(ErrorKind::kTooBig);
    auto whole = ranges_.acquire_whole();
    if (auto r = prepare_change(); !r) return r;
    const std::uint64_t end = off + size;
    const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
    std::uint64_t old;
    {
        std::lock_guard lock(state_);
        old = header_.size;
    }
    switch (mode & ~FALLOC_FL_KEEP_SIZE) {
        case 0: {
            const auto first = volume::fragment(volume::fragment_of(off));
            const auto last = volume::fragment(volume::fragment_of(end - 1));
            auto r = lower_.fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, first.cipher_off,
                                      last.cipher_off + last.cipher_size - first.cipher_off);
            if (!r) return fail(r.error());
            break;
        }
        case FALLOC_FL_PUNCH_HOLE:
            if (!keep_size) return fail(ErrorKind::kUnsupported);
            return punch(off, size);
        case FALLOC_FL_ZERO_RANGE:
            if (auto r = punch(off, size); !r) return r;
            break;
        default:
            return fail(ErrorKind::kUnsupported);
    }
    return keep_size || end <= old ? Result<void>{} : grow(end);
}

}  // namespace extencfs::core
