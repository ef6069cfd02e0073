// SPDX-License-Identifier: Apache-2.0
// Changing a file: the order of lower calls here is FORMAT.md "Writer rules", whose crash states a
// model has checked. Change the rules there first.
#include <linux/falloc.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "crypto/random.h"
#include "encfs/core/format1_file.h"

namespace extencfs::core {

namespace {

constexpr std::uint64_t kDenseGap = 64 * 1024;  // gaps below this are sealed zeros, not holes
constexpr auto kEpochInterval = std::chrono::minutes(1);
constexpr std::size_t kMaxFragmentPlain = 4064;

thread_local IoBuffer seal_buffer;
const std::array<std::byte, kDenseGap> kZeros{};

std::uint64_t page_end(std::uint64_t off) {
    return (off + volume::kLowerPageSize - 1) / volume::kLowerPageSize * volume::kLowerPageSize;
}

}  // namespace

Result<std::shared_ptr<ContentFile>> Format1File::create(const Format1Context& context,
                                                         lower::LowerFs& lower, lower::Fd fd) {
    const auto& keys = context.keys->current();
    volume::FileHeader header{.cipher = context.keys->content_cipher(),
                              .key_generation = keys.number};
    if (!crypto::fill_random(header.id)) return fail(ErrorKind::kInternal);
    ByteArray<volume::kFileHeaderSize> bytes;
    volume::encode_header(header, keys.header.bytes(), bytes);
    if (auto r = lower.pwrite(fd.get(), bytes, 0); !r) return fail(r.error());
    std::shared_ptr<Format1File> file(new Format1File(context, lower, std::move(fd), header, keys));
    file->recovered_ = true;
    return file;
}

// ---- header ----

std::uint32_t Format1File::seal_epoch_locked() const {
    const bool due = header_durable_ && header_.epoch < volume::kMaxEpoch &&
                     Clock::now() - epoch_advanced_ >= kEpochInterval;
    return due ? header_.epoch + 1 : header_.epoch;
}

Result<void> Format1File::commit_locked(std::uint64_t size, std::uint32_t epoch, bool sparse) {
    volume::FileHeader next = header_;
    next.size = size;
    next.epoch = std::max(epoch, header_.epoch);
    next.sparse = sparse;
    ByteArray<volume::kFileHeaderSize> bytes;
    volume::encode_header(next, keys_.header.bytes(), bytes);
    // Counted first: a failed write may have reached the lower file all the same.
    ++change_count_;
    header_durable_ = false;
    hint_due_ = hint_due_ || next.size != header_.size;
    if (auto r = lower_.pwrite(fd_.get(), bytes, 0); !r) return fail(r.error());
    if (next.epoch != header_.epoch) epoch_advanced_ = Clock::now();
    header_ = next;
    return {};
}

Result<void> Format1File::set_hint_locked() {
    // A shorter st_size would cut off what is written beyond the size.
    if (!hint_due_ || !islands_.empty() || writers_beyond_ != 0) return {};
    auto r = lower_.truncate(fd_.get(), volume::hint_of_size(header_.size));
    if (!r) return fail(r.error());
    hint_due_ = false;
    return {};
}

void Format1File::abandon_growth_locked() {
    hint_due_ = true;
    if (!islands_.empty() || writers_beyond_ != 0) return;
    // As after a truncation: part of what was written may still reach the disk.
    truncation_pending_ = true;
    ++change_count_;
    // A failure leaves what a crash would leave; hint_due_ stays, so that it is tried again.
    if (lower_.truncate(fd_.get(), volume::data_end(header_.size))) (void)set_hint_locked();
}

Result<void> Format1File::make_truncation_durable() {
    if (auto r = lower_.fdatasync(fd_.get()); !r) return fail(r.error());
    std::lock_guard lock(state_);
    truncation_pending_ = false;
    header_durable_ = true;
    sparse_durable_ = header_.sparse;
    return {};
}

Result<void> Format1File::advance(std::uint64_t off, std::uint64_t end, std::uint32_t epoch,
                                  Counted counted) {
    std::lock_guard lock(state_);
    if (counted == Counted::kYes) --writers_beyond_;
    std::uint64_t size = header_.size;
    if (off <= size) {
        size = std::max(size, end);
        while (!islands_.empty() && islands_.begin()->first <= size) {
            size = std::max(size, islands_.begin()->second);
            islands_.erase(islands_.begin());
        }
    } else {
        auto [it, inserted] = islands_.try_emplace(off, end);
        if (!inserted) it->second = std::max(it->second, end);
        if (it != islands_.begin()) {
            auto before = std::prev(it);
            if (before->second >= it->first) {
                before->second = std::max(before->second, it->second);
                islands_.erase(it);
                it = before;
            }
        }
        for (auto next = std::next(it); next != islands_.end() && next->first <= it->second;) {
            it->second = std::max(it->second, next->second);
            next = islands_.erase(next);
        }
    }
    if (size != header_.size || epoch > header_.epoch) {
        if (auto r = commit_locked(size, epoch, header_.sparse); !r) return r;
    }
    return set_hint_locked();
}

// ---- fragments ----

Result<void> Format1File::seal_and_write(std::uint64_t first, std::uint64_t n, Bytes plain,
                                         std::uint64_t size, std::uint32_t epoch) {
    const auto begin = volume::fragment(first);
    const auto end = volume::fragment(first + n - 1);
    MutBytes out = seal_buffer.take(end.cipher_off + end.cipher_size - begin.cipher_off);
    if (auto r = codec_.seal(first, n, plain, size, epoch, out); !r) return fail(r.error());
    if (auto r = lower_.pwrite(fd_.get(), out, begin.cipher_off); !r) return fail(r.error());
    return {};
}

Result<void> Format1File::load_for_change(std::uint64_t fragment, MutBytes plain) {
    const auto where = volume::fragment(fragment);
    std::uint64_t valid_end;
    {
        std::lock_guard lock(state_);
        valid_end = header_.size;
        auto island = islands_.upper_bound(where.plain_off);
        if (island != islands_.begin() && std::prev(island)->second > where.plain_off)
            valid_end = std::max(valid_end, std::prev(island)->second);
    }
    if (where.plain_off >= valid_end) {
        std::fill(plain.begin(), plain.end(), std::byte{0});
        return {};
    }
    valid_end = std::min(valid_end, where.plain_off + where.plain_size);
    if (auto r = load(fragment, fragment, where.plain_off, valid_end, plain); !r) return r;
    auto beyond = plain.subspan(valid_end - where.plain_off);
    std::fill(beyond.begin(), beyond.end(), std::byte{0});
    return {};
}

Result<void> Format1File::store(std::uint64_t off, Bytes in, std::uint32_t epoch) {
    const std::uint64_t end = off + in.size();
    const std::uint64_t first = volume::fragment_of(off);
    const std::uint64_t last = volume::fragment_of(end - 1);
    std::uint64_t known_end;
    {
        std::lock_guard lock(state_);
        known_end = known_end_locked();
    }
    const auto head = volume::fragment(first);
    const auto tail = volume::fragment(last);
    const bool patch_head = off != head.plain_off;
    const bool pad_tail = end != tail.plain_off + tail.plain_size;
    if (!patch_head && !pad_tail)
        return seal_and_write(first, last - first + 1, in, std::max(known_end, end), epoch);
    // One contiguous plaintext of whole fragments, so that the write below is one call.
    static thread_local IoBuffer plain_buffer;
    MutBytes plain = plain_buffer.take(tail.plain_off + tail.plain_size - head.plain_off);
    if (patch_head) {
        if (auto r = load_for_change(first, plain.first(head.plain_size)); !r) return r;
    }
    if (pad_tail && (last != first || !patch_head)) {
        MutBytes room = plain.last(tail.plain_size);
        if (end < known_end) {
            if (auto r = load_for_change(last, room); !r) return r;
        } else {
            std::fill(room.begin(), room.end(), std::byte{0});
        }
    }
    std::memcpy(plain.data() + (off - head.plain_off), in.data(), in.size());
    return seal_and_write(first, last - first + 1, plain, std::max(known_end, end), epoch);
}

Result<void> Format1File::store_first_page(std::uint64_t off, Bytes in, Counted counted) {
    const auto where = volume::fragment(0);
    std::array<std::byte, kMaxFragmentPlain> plain_bytes;
    MutBytes plain(plain_bytes.data(), where.plain_size);
    auto loaded = load_for_change(0, plain);

    std::lock_guard lock(state_);
    if (counted == Counted::kYes) --writers_beyond_;
    if (!loaded) return loaded;
    std::memcpy(plain.data() + off, in.data(), in.size());
    volume::FileHeader next = header_;
    next.size = std::max(header_.size, off + in.size());
    next.epoch = seal_epoch_locked();
    std::array<std::byte, volume::kLowerPageSize> page;
    volume::encode_header(next, keys_.header.bytes(),
                          MutBytes(page).first<volume::kFileHeaderSize>());
    if (auto r = codec_.seal(0, 1, plain, next.size, next.epoch,
                             MutBytes(page).subspan(where.cipher_off, where.cipher_size));
        !r)
        return fail(r.error());
    ++change_count_;
    header_durable_ = false;
    const Bytes out = Bytes(page).first(where.cipher_off + where.cipher_size);
    if (auto r = lower_.pwrite(fd_.get(), out, 0); !r) return fail(r.error());
    hint_due_ = hint_due_ || next.size != header_.size;
    if (next.epoch != header_.epoch) epoch_advanced_ = Clock::now();
    header_ = next;
    return set_hint_locked();
}

// ---- write ----

bool Format1File::needs_whole_locked(std::uint64_t off, std::uint64_t end,
                                     WriteSource source) const {
    if (!recovered_) return true;
    const std::uint64_t known_end = known_end_locked();
    if (truncation_pending_ && end > header_.size) return true;
    // The kernel's pages come in any order, each a block of its own: they may lie beyond the end.
    // Anything else that leaves a gap is a gap that somebody made.
    const bool page = source == WriteSource::kPageCache && off % volume::kBlockSize == 0;
    if (off > header_.size && !page) return true;
    if (!islands_.empty()) {
        if (off % volume::kBlockSize != 0) return true;
        if (end % volume::kBlockSize != 0 && end < known_end) return true;
    }
    return false;
}

Result<void> Format1File::write(std::uint64_t off, Bytes in, WriteSource source) {
    if (in.empty()) return {};
    if (off > volume::kMaxFileSize || in.size() > volume::kMaxFileSize - off)
        return fail(ErrorKind::kTooBig);
    const std::uint64_t end = off + in.size();
    const std::uint64_t last = volume::fragment_of(end - 1);
    {
        auto held = ranges_.acquire(volume::fragment_of(off), last, RangeAccess::kExclusive);
        bool alone, first_page;
        Counted counted;
        std::uint32_t epoch;
        {
            std::lock_guard lock(state_);
            alone = needs_whole_locked(off, end, source);
            const bool beyond = end > header_.size;
            first_page = last == 0 && beyond && off <= header_.size && islands_.empty();
            epoch = seal_epoch_locked();
            counted = beyond ? Counted::kYes : Counted::kNo;
            if (beyond && !alone) ++writers_beyond_;
        }
        if (!alone) {
            if (first_page) return store_first_page(off, in, counted);
            if (auto r = store(off, in, epoch); !r) {
                std::lock_guard lock(state_);
                if (counted == Counted::kYes) {
                    --writers_beyond_;
                    abandon_growth_locked();
                }
                return r;
            }
            return advance(off, end, epoch, counted);
        }
    }
    auto whole = ranges_.acquire_whole();
    return write_alone(off, in);
}

Result<void> Format1File::write_alone(std::uint64_t off, Bytes in) {
    if (auto r = prepare_change(); !r) return r;
    const std::uint64_t end = off + in.size();
    std::uint64_t size;
    bool pending;
    {
        std::lock_guard lock(state_);
        size = header_.size;
        pending = truncation_pending_;
    }
    if (end > size && pending) {
        if (auto r = make_truncation_durable(); !r) return r;
    }
    if (off > size) {
        if (auto r = grow(off); !r) return r;
    }
    std::uint32_t epoch;
    {
        std::lock_guard lock(state_);
        epoch = seal_epoch_locked();
    }
    if (auto r = store(off, in, epoch); !r) {
        std::lock_guard lock(state_);
        if (end > header_.size) abandon_growth_locked();
        return r;
    }
    return advance(off, end, epoch, Counted::kNo);
}

// ---- size ----

Result<void> Format1File::settle_alone() {
    for (;;) {
        std::uint64_t size, begin, end;
        {
            std::lock_guard lock(state_);
            if (islands_.empty()) return set_hint_locked();
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
}

Result<void> Format1File::prepare_change() {
    if (auto r = recover(); !r) return std::unexpected(r.error());
    return settle_alone();
}

Result<void> Format1File::reseal_tail(std::uint64_t size, std::uint64_t keep) {
    if (keep == 0) return {};
    const std::uint64_t number = volume::fragment_of(keep - 1);
    const auto where = volume::fragment(number);
    if (keep == where.plain_off + where.plain_size) return {};
    std::array<std::byte, kMaxFragmentPlain> plain_bytes;
    MutBytes plain(plain_bytes.data(), where.plain_size);
    if (auto r = load(number, number, where.plain_off, keep, plain); !r) return r;
    const auto beyond = plain.subspan(keep - where.plain_off);
    std::fill(beyond.begin(), beyond.end(), std::byte{0});
    std::uint32_t epoch;
    bool sparse;
    {
        std::lock_guard lock(state_);
        epoch = header_.epoch;
        sparse = header_.sparse;
    }
    const bool hole = sparse && std::all_of(plain.begin(), plain.end(),
                                            [](std::byte b) { return b == std::byte{0}; });
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
    if (auto r = commit_locked(size, epoch, true); !r) return r;
    return set_hint_locked();
}

Result<void> Format1File::shrink(std::uint64_t size) {
    {
        std::lock_guard lock(state_);
        if (auto r = commit_locked(size, header_.epoch, header_.sparse); !r) return r;
        truncation_pending_ = true;
    }
    if (auto r = reseal_tail(size, size); !r) return r;
    // Exactly to the end of the last fragment, so that nothing of what follows it in its page
    // comes back when the file grows.
    if (auto r = lower_.truncate(fd_.get(), volume::data_end(size)); !r) return fail(r.error());
    std::lock_guard lock(state_);
    ++change_count_;
    hint_due_ = true;
    return set_hint_locked();
}

Result<void> Format1File::make_empty() {
    {
        std::lock_guard lock(state_);
        if (header_.cut == ~std::uint32_t{0}) return fail(ErrorKind::kTooBig);
        header_.cut += 1;
        if (auto r = commit_locked(0, header_.epoch, false); !r) {
            header_.cut -= 1;
            return r;
        }
        sparse_durable_ = false;
        codec_ = volume::ContentCodec::make(keys_.content_root.bytes(), header_.cipher, header_.id,
                                            header_.cut);
        truncation_pending_ = false;
    }
    if (auto r = lower_.truncate(fd_.get(), volume::data_end(0)); !r) return fail(r.error());
    std::lock_guard lock(state_);
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
    auto lower_stat = lower_.stat(fd_.get());
    if (!lower_stat) return fail(lower_stat.error());
    bool wrong = static_cast<std::uint64_t>(lower_stat->st_size) != volume::hint_of_size(size);
    // What lies between the last fragment and the end of its page belongs to no fragment yet.
    const std::uint64_t data_end = volume::data_end(size);
    std::array<std::byte, volume::kLowerPageSize> rest;
    auto got =
        lower_.pread(fd_.get(), MutBytes(rest).first(page_end(data_end) - data_end), data_end);
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
                codec_.open(number, 1, Bytes(cipher).first(*tail), header_.epoch, header_.sparse,
                            MutBytes(plain).first(where.plain_size), std::span(&opened, 1));
            !r)
            return fail(r.error());
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
        if (auto r = set_hint_locked(); !r) return std::unexpected(r.error());
    }
    std::lock_guard lock(state_);
    recovered_ = true;
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
