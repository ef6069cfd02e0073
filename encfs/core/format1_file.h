// SPDX-License-Identifier: Apache-2.0
// The contents of one regular file of a format-1 volume: the writer rules of FORMAT.md "Writer
// rules" over a lower descriptor. Knows nothing of names, nodes or requests.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "encfs/core/metadata_sink.h"
#include "encfs/core/range_lock.h"
#include "encfs/core/volume_format.h"
#include "encfs/volume/volume_keys.h"

namespace extencfs::core {

// What all files of a mounted volume share.
struct Format1Context {
    std::shared_ptr<const volume::VolumeKeys> keys;
    // The keys are being rotated: what is older than `keys->current()` is sealed anew by and by.
    bool rotating = false;
    // The volume was unmounted cleanly, so that no file needs "Recovery" before it is written.
    bool clean = false;
    FileDamage on_damage;
    // Told of what files change by themselves; may be nullptr.
    MetadataSink* sink = nullptr;
};

class Format1File final : public ContentFile {
  public:
    // An empty file: writes the first header. REQUIRES: `fd` open for reading and writing, empty.
    static Result<std::shared_ptr<ContentFile>> create(const Format1Context& context,
                                                       lower::LowerFs& lower, lower::Fd fd);
    // `lower_size`: its st_size. ERRORS: kDamaged (the header), kLower.
    static Result<std::shared_ptr<ContentFile>> open(const Format1Context& context,
                                                     lower::LowerFs& lower, lower::Fd fd,
                                                     std::uint64_t lower_size);
    static Result<volume::FileHeader> read_header(const Format1Context& context,
                                                  lower::LowerFs& lower, int fd);

    int fd() const override { return fd_.get(); }
    std::uint64_t size() const override;
    Result<Bytes> read(std::uint64_t off, std::size_t size, IoBuffer& buffer) override;
    Result<void> write(std::uint64_t off, Bytes in, WriteSource source) override;
    Result<void> truncate(std::uint64_t size) override;
    Result<void> allocate(int mode, std::uint64_t off, std::uint64_t size) override;
    Result<std::uint64_t> seek(std::uint64_t off, int whence) override;
    Result<void> sync(bool data_only) override;
    Result<void> settle() override;
    Result<void> before_close() override;
    Result<bool> mend() override;
    void keys_changed() override;
    bool is_of_older_keys() const override;
    Result<void> reseal(ResealProgress& progress) override;

  private:
    using Clock = std::chrono::steady_clock;
    // Whether a write is one of writers_beyond_, to be counted down when it is done.
    enum class Counted { kNo, kYes };

    Format1File(const Format1Context& context, lower::LowerFs& lower, lower::Fd fd,
                const volume::FileHeader& header, const volume::GenerationKeys& keys);

    // ---- reading (format1_file.cc) ----
    // Opens fragments [first, last] into `plain`. LOCKS: their range is held.
    Result<void> load(std::uint64_t first, std::uint64_t last, std::uint64_t need_begin,
                      std::uint64_t need_end, MutBytes plain);
    Result<std::uint64_t> seek_fragment(std::uint64_t number, std::uint64_t size, int whence);
    Error damaged(std::uint64_t fragment, volume::FragmentState state) const;
    // By the codec of the header or, during a rotation, by the one that seals.
    Result<void> open_fragments(std::uint64_t first, std::uint64_t n, Bytes cipher,
                                std::uint32_t epoch, bool sparse, MutBytes plain,
                                std::span<volume::OpenedFragment> states) const;

    // ---- rotation (format1_file_reseal.cc). LOCKS: state_ is held, or the file is not in use ----
    const volume::ContentCodec& sealer() const { return next_codec_ ? *next_codec_ : codec_; }
    void look_for_newer_keys();
    // The header's generation is the newest from its next commit on.
    void take_newer_keys();
    Result<void> reseal_page(ResealProgress& progress);    // LOCKS: whole file
    Result<void> reseal_header(ResealProgress& progress);  // LOCKS: whole file
    Result<void> reseal_run(ResealProgress& progress, std::uint64_t end);
    std::uint64_t after_hole(std::uint64_t fragment, std::uint64_t end) const;

    // ---- writing (format1_file_write.cc) ----
    // Seals and writes [off, off + in.size()), filling up the first and last fragment from what is
    // there. LOCKS: that range is held exclusively.
    Result<void> store(std::uint64_t off, Bytes in, std::uint32_t epoch);
    // store() and advance() in one for a file that fits the first fragment: one lower write.
    Result<void> store_first_page(std::uint64_t off, Bytes in, Counted counted);
    // Seals fragments [first, ...] holding `plain` and writes them. `size`: sets each `used`.
    Result<void> seal_and_write(std::uint64_t first, std::uint64_t n, Bytes plain,
                                std::uint64_t size, std::uint32_t epoch);
    // Plaintext of one fragment as it is now, zeros where nothing is. LOCKS: its range is held.
    Result<void> load_for_change(std::uint64_t fragment, MutBytes plain);
    // The write in full, when the range lock of the whole file is held.
    Result<void> write_alone(std::uint64_t off, Bytes in);
    Result<void> grow(std::uint64_t size);    // LOCKS: whole file
    Result<void> shrink(std::uint64_t size);  // LOCKS: whole file
    Result<void> make_empty();                // LOCKS: whole file
    // Rewrites the tail fragment so that its `used` is what a file of `size` bytes has.
    Result<void> reseal_tail(std::uint64_t size, std::uint64_t keep);
    Result<void> punch(std::uint64_t off, std::uint64_t size);
    // FORMAT.md "Recovery", once for each opened file, before its first change. LOCKS: whole file.
    // True when something was mended.
    Result<bool> recover();
    Result<void> prepare_change();  // recover() and settle_alone(). LOCKS: whole file
    // Islands become part of the file, what is between them holes. LOCKS: whole file.
    Result<void> settle_alone();
    // Growth after a truncation that may not be durable yet. LOCKS: whole file.
    Result<void> make_truncation_durable();
    // After [off, end) was written: the header and the hint. LOCKS: takes state_.
    Result<void> advance(std::uint64_t off, std::uint64_t end, std::uint32_t epoch,
                         Counted counted);

    // ---- header. LOCKS: state_ is held ----
    std::uint32_t seal_epoch_locked() const;
    Result<void> commit_locked(std::uint64_t size, std::uint32_t epoch, bool sparse);
    // Sets st_size where it is due and nothing written lies beyond the size.
    Result<void> set_hint_locked();
    // After a failed write beyond the size: what it left there is cut off again.
    void abandon_growth_locked();
    // Where what is written ends: the size, or the end of the last island.
    std::uint64_t known_end_locked() const;
    bool needs_whole_locked(std::uint64_t off, std::uint64_t end, WriteSource source) const;
    bool needs_settling() const;

    const Format1Context& context_;
    lower::LowerFs& lower_;
    lower::Fd fd_;
    std::shared_ptr<const volume::VolumeKeys> owner_;  // of the keys below
    // These four change only under the whole file's range lock.
    const volume::GenerationKeys* keys_;  // of the header
    volume::ContentCodec codec_;          // likewise
    // While the keys are rotated and the header is of an older generation: the newest, by which
    // everything is sealed. A fragment is of one or the other.
    const volume::GenerationKeys* next_keys_ = nullptr;
    std::optional<volume::ContentCodec> next_codec_;

    RangeLock ranges_;

    mutable std::mutex state_;         // taken after ranges_; guards what follows
    volume::FileHeader header_;        // as last written below
    bool header_durable_ = false;      // and known to survive power loss
    bool sparse_durable_ = false;      // the header's SPARSE flag is known to survive it
    bool truncation_pending_ = false;  // a truncation to n > 0 may not be durable
    bool recovered_ = false;
    bool hint_due_ = false;           // st_size below does not tell the size yet
    std::uint64_t change_count_ = 0;  // of header writes and truncations
    unsigned writers_beyond_ = 0;     // writes in progress that end beyond the size
    // Written ranges beyond the size that do not touch it yet: the kernel writes a growing file's
    // pages back in any order. begin -> end.
    std::map<std::uint64_t, std::uint64_t> islands_;
    Clock::time_point epoch_advanced_{};
};

}  // namespace extencfs::core
