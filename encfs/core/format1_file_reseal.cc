// SPDX-License-Identifier: Apache-2.0
// One file on its way to the newest generation of keys, step by step, between the operations of a
// mount (FORMAT.md "Rotation of keys", step 2).
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "crypto/secret.h"
#include "encfs/core/format1_file.h"

namespace extencfs::core {

using volume::FragmentState;

namespace {

// What is read, opened, sealed and written in one step: 256 KiB.
constexpr std::uint64_t kStep = 128;

thread_local IoBuffer cipher_buffer;

// Wiped when it goes.
struct Plain {
    ByteVector bytes;
    explicit Plain(std::size_t size) : bytes(size) {}
    ~Plain() { crypto::wipe(bytes); }
    Plain(const Plain&) = delete;
    Plain& operator=(const Plain&) = delete;
};

}  // namespace

// ---- keys ----

void Format1File::look_for_newer_keys() {
    next_codec_.reset();
    next_keys_ = nullptr;
    const auto& current = owner_->current();
    if (!context_.rotating || keys_ == &current) return;
    next_keys_ = &current;
    next_codec_ = volume::ContentCodec::make(current.content_root.bytes(), header_.cipher,
                                             header_.id, header_.cut);
}

void Format1File::take_newer_keys() {
    if (next_keys_ == nullptr) return;
    keys_ = next_keys_;
    header_.key_generation = keys_->number;
}

void Format1File::keys_changed() {
    auto whole = ranges_.acquire_whole();
    std::lock_guard lock(state_);
    const auto* same = context_.keys->generation(header_.key_generation);
    // Nobody ends a rotation while one of it is open; if so, it keeps its keys.
    if (same == nullptr) return;
    keys_ = same;
    owner_ = context_.keys;
    look_for_newer_keys();
}

bool Format1File::is_of_older_keys() const {
    std::lock_guard lock(state_);
    return next_keys_ != nullptr;
}

// ---- steps ----

Result<void> Format1File::reseal(ResealProgress& progress) {
    if (!is_of_older_keys()) {
        progress.done = true;
        return {};
    }
    std::uint64_t size;
    if (!progress.begun) {
        auto whole = ranges_.acquire_whole();
        // What lies beyond the size is cut off or becomes part of it: only below it is anything
        // old.
        if (auto r = prepare_change(); !r) return r;
        {
            std::lock_guard lock(state_);
            size = header_.size;
        }
        progress.end = volume::fragment_count(size);
        progress.begun = true;
        if (volume::data_end(size) <= volume::kLowerPageSize) return reseal_page(progress);
    }
    {
        std::lock_guard lock(state_);
        size = header_.size;
    }
    // What was cut off meanwhile is gone; what was added since is new.
    const std::uint64_t end = std::min(progress.end, volume::fragment_count(size));
    if (progress.next < end) {
        progress.next = after_hole(progress.next, end);
        if (progress.next < end) return reseal_run(progress, end);
    }
    if (!progress.sealed) {
        progress.sealed = true;  // its bytes go to the disk while others are at work
        return {};
    }
    auto whole = ranges_.acquire_whole();
    return reseal_header(progress);
}

std::uint64_t Format1File::after_hole(std::uint64_t fragment, std::uint64_t end) const {
    bool sparse;
    {
        std::lock_guard lock(state_);
        sparse = header_.sparse;
    }
    if (!sparse) return fragment;
    const auto data = lower_.seek(fd_.get(), volume::fragment(fragment).cipher_off, SEEK_DATA);
    if (!data) return data.error().value == ENXIO ? end : fragment;
    if (*data <= volume::kFileHeaderSize) return fragment;
    const std::uint64_t block = (*data - volume::kFileHeaderSize) / volume::kCipherBlockSize;
    return std::clamp(2 * block, fragment, end);
}

Result<void> Format1File::reseal_run(ResealProgress& progress, std::uint64_t end) {
    const std::uint64_t first = progress.next;
    const std::uint64_t n = std::min(kStep, end - first);
    auto held = ranges_.acquire(first, first + n - 1, RangeAccess::kExclusive);
    std::uint32_t epoch;
    std::uint64_t size;
    bool sparse;
    {
        std::lock_guard lock(state_);
        epoch = header_.epoch;
        size = header_.size;
        sparse = header_.sparse;
    }
    const auto head = volume::fragment(first);
    const auto last = volume::fragment(first + n - 1);
    const MutBytes cipher =
        cipher_buffer.take(last.cipher_off + last.cipher_size - head.cipher_off);
    auto got = lower_.pread(fd_.get(), cipher, head.cipher_off);
    if (!got) return fail(got.error());
    Plain plain(last.plain_off + last.plain_size - head.plain_off);
    std::array<volume::OpenedFragment, kStep> states, newer;
    if (auto r = codec_.open(first, n, cipher.first(*got), epoch, sparse, plain.bytes,
                             std::span(states.data(), n));
        !r)
        return fail(r.error());
    // Which of them are the older generation's, and which of those are sealed at less than their
    // length in a dense file: they stay as much damage as they are.
    std::array<bool, kStep> seal{}, is_short{};
    for (std::uint64_t i = 0; i < n; ++i) {
        const auto piece = volume::fragment(first + i);
        const std::uint64_t want =
            std::min<std::uint64_t>(piece.plain_size, size - std::min(size, piece.plain_off));
        if (states[i].state == FragmentState::kHole) continue;
        if (states[i].state == FragmentState::kGood) {
            seal[i] = true;
            is_short[i] = !sparse && states[i].used < want;
            if (is_short[i]) ++progress.damaged;
            auto beyond = MutBytes(plain.bytes)
                              .subspan(piece.plain_off - head.plain_off, piece.plain_size)
                              .subspan(want);
            std::fill(beyond.begin(), beyond.end(), std::byte{0});
            continue;
        }
        const auto at = piece.cipher_off - head.cipher_off;
        const Bytes lower = at < *got ? Bytes(cipher).first(*got).subspan(at) : Bytes{};
        Plain scratch(piece.plain_size);
        if (auto r = next_codec_->open(
                piece.number, 1,
                lower.first(std::min<std::size_t>(lower.size(), piece.cipher_size)), epoch, sparse,
                scratch.bytes, std::span(&newer[i], 1));
            !r)
            return fail(r.error());
        const bool is_whole =
            newer[i].state == FragmentState::kGood && (sparse || newer[i].used >= want);
        if (!is_whole) ++progress.damaged;
    }
    for (std::uint64_t from = 0; from < n;) {
        if (!seal[from]) {
            ++from;
            continue;
        }
        std::uint64_t to = from + 1;
        while (!is_short[from] && to < n && seal[to] && !is_short[to]) ++to;
        const auto begin = volume::fragment(first + from);
        const auto stop = volume::fragment(first + to - 1);
        const Bytes text = Bytes(plain.bytes)
                               .subspan(begin.plain_off - head.plain_off,
                                        stop.plain_off + stop.plain_size - begin.plain_off);
        const std::uint64_t ends = is_short[from] ? begin.plain_off + states[from].used : size;
        if (auto r = seal_and_write(first + from, to - from, text, ends, epoch); !r) return r;
        from = to;
    }
    progress.next = first + n;
    return {};
}

// A file within the first lower page: its fragment and its header are one write.
Result<void> Format1File::reseal_page(ResealProgress& progress) {
    std::lock_guard lock(state_);
    const auto where = volume::fragment(0);
    std::array<std::byte, volume::kLowerPageSize> page;
    Plain plain(where.plain_size);
    std::size_t written = volume::kFileHeaderSize;
    if (header_.size > 0) {
        const MutBytes cipher = cipher_buffer.take(where.cipher_size);
        auto got = lower_.pread(fd_.get(), cipher, where.cipher_off);
        if (!got) return fail(got.error());
        volume::OpenedFragment state{};
        if (auto r = open_fragments(0, 1, cipher.first(*got), header_.epoch, header_.sparse,
                                    plain.bytes, std::span(&state, 1));
            !r)
            return r;
        if (state.state == FragmentState::kGood) {
            const bool is_short = !header_.sparse && state.used < header_.size;
            if (is_short) ++progress.damaged;
            auto beyond = MutBytes(plain.bytes).subspan(header_.size);
            std::fill(beyond.begin(), beyond.end(), std::byte{0});
            const std::uint64_t ends = is_short ? state.used : header_.size;
            if (auto r = sealer().seal(0, 1, plain.bytes, ends, header_.epoch,
                                       MutBytes(page).subspan(where.cipher_off, where.cipher_size));
                !r)
                return fail(r.error());
            written += where.cipher_size;
        } else if (state.state != FragmentState::kHole) {
            ++progress.damaged;
        }
    }
    volume::FileHeader next = header_;
    next.key_generation = next_keys_->number;
    volume::encode_header(next, next_keys_->header.bytes(),
                          MutBytes(page).first<volume::kFileHeaderSize>());
    ++change_count_;
    header_durable_ = false;
    // A failed write leaves the page old or new, and the next step finds out which.
    if (auto r = lower_.pwrite(fd_.get(), Bytes(page).first(written), 0); !r)
        return fail(r.error());
    take_newer_keys();
    codec_ = std::move(*next_codec_);
    look_for_newer_keys();
    progress.done = true;
    return {};
}

Result<void> Format1File::reseal_header(ResealProgress& progress) {
    // The header says that all of them are of the newest generation.
    if (auto r = lower_.fdatasync(fd_.get()); !r) {
        progress.lost_writes = true;
        return fail(r.error());
    }
    std::lock_guard lock(state_);
    const auto was = header_;
    const auto* keys_before = keys_;
    take_newer_keys();
    if (auto r = commit_locked(header_.size, header_.epoch, header_.sparse); !r) {
        header_ = was;
        keys_ = keys_before;
        return r;
    }
    codec_ = std::move(*next_codec_);
    look_for_newer_keys();
    progress.done = true;
    return {};
}

}  // namespace extencfs::core
