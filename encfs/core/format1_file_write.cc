// SPDX-License-Identifier: Apache-2.0
// Changing a file: the order of lower calls here is FORMAT.md "Writer rules", whose crash states a
// model has checked. Change the rules there first.
#include <algorithm>
#include <array>
#include <cstring>

#include "crypto/random.h"
#include "encfs/core/format1_file.h"

namespace extencfs::core {

namespace {

constexpr auto kEpochInterval = std::chrono::minutes(1);
constexpr std::size_t kMaxFragmentPlain = 4064;
// What is sealed is written before it has left the processor's cache.
constexpr std::uint64_t kSealedTogether = 128;  // fragments: 256 KiB

thread_local IoBuffer seal_buffer;
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
    volume::encode_header(next, keys_->header.bytes(), bytes);
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
    // A shorter st_size would cut off what is written beyond the size, and a longer one take in
    // what a failed change left there.
    if (!hint_due_ || !recovered_ || !islands_.empty() || writers_beyond_ != 0) return {};
    auto r = lower_.truncate(fd_.get(), volume::hint_of_size(header_.size));
    if (!r) return fail(r.error());
    hint_due_ = false;
    return {};
}

void Format1File::abandon_growth_locked() {
    hint_due_ = true;
    recovered_ = false;  // until what may be left beyond the size is cut off
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
        for (auto it = islands_.begin(); it != islands_.end() && it->first <= size; ++it)
            size = std::max(size, it->second);
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
        if (auto r = commit_locked(size, epoch, header_.sparse); !r) {
            if (end > header_.size) abandon_growth_locked();
            return r;
        }
    }
    // Not before the header tells of them: they were acknowledged.
    while (!islands_.empty() && islands_.begin()->first <= size) islands_.erase(islands_.begin());
    return set_hint_locked();
}

// ---- fragments ----

Result<void> Format1File::seal_and_write(std::uint64_t first, std::uint64_t n, Bytes plain,
                                         std::uint64_t size, std::uint32_t epoch) {
    while (n > 0) {
        const std::uint64_t count = std::min(n, kSealedTogether);
        const auto begin = volume::fragment(first);
        const auto end = volume::fragment(first + count - 1);
        const std::size_t plain_size = end.plain_off + end.plain_size - begin.plain_off;
        MutBytes out = seal_buffer.take(end.cipher_off + end.cipher_size - begin.cipher_off);
        if (auto r = sealer().seal(first, count, plain.first(plain_size), size, epoch, out); !r)
            return fail(r.error());
        if (auto r = lower_.pwrite(fd_.get(), out, begin.cipher_off); !r) return fail(r.error());
        plain = plain.subspan(plain_size);
        first += count;
        n -= count;
    }
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
    volume::encode_header(next, keys_->header.bytes(),
                          MutBytes(page).first<volume::kFileHeaderSize>());
    if (auto r = sealer().seal(0, 1, plain, next.size, next.epoch,
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
    auto written = store(off, in, epoch);
    if (written) {
        written = advance(off, end, epoch, Counted::kNo);
    } else {
        std::lock_guard lock(state_);
        if (end > header_.size) abandon_growth_locked();
    }
    if (!written && off > size) (void)shrink(size);  // a write that failed leaves no gap behind
    return written;
}

}  // namespace extencfs::core
