// SPDX-License-Identifier: Apache-2.0
// The contents of one regular file of an EncFS 1.x volume (encfs/legacy/FORMAT.md "Contents") over
// a lower descriptor. Knows nothing of names, nodes or requests.
#pragma once

#include <atomic>
#include <memory>

#include "encfs/core/legacy_tail.h"
#include "encfs/core/range_lock.h"
#include "encfs/core/volume_format.h"
#include "encfs/legacy/contents.h"

namespace extencfs::core {

// What all files of a mounted volume share.
struct LegacyContext {
    legacy::ContentCodec codec;
    FileDamage on_damage;
    std::unique_ptr<LegacyTail> tail;
};

// Beside what ContentFile says: a file that a killed daemon was writing may have lost the block
// that the write began or ended in; the format knows no better.
class LegacyFile final : public ContentFile {
  public:
    // `path_iv`: the chain value of its name where the volume binds files to paths, else 0.
    // A new, empty file: nothing is written before it holds something, as EncFS does it.
    static Result<std::shared_ptr<LegacyFile>> create(const LegacyContext& context,
                                                      lower::LowerFs& lower, lower::Fd fd,
                                                      std::uint64_t path_iv);
    // `lower_size`: its st_size. ERRORS: kDamaged (it ends within its header), kLower.
    static Result<std::shared_ptr<LegacyFile>> open(const LegacyContext& context,
                                                    lower::LowerFs& lower, lower::Fd fd,
                                                    std::uint64_t lower_size,
                                                    std::uint64_t path_iv);

    int fd() const override { return fd_.get(); }
    std::uint64_t size() const override { return size_; }
    Result<Bytes> read(std::uint64_t off, std::size_t size, IoBuffer& buffer) override;
    Result<void> write(std::uint64_t off, Bytes in, WriteSource source) override;
    Result<void> truncate(std::uint64_t size) override;
    Result<void> allocate(int mode, std::uint64_t off, std::uint64_t size) override;
    Result<std::uint64_t> seek(std::uint64_t off, int whence) override;
    Result<void> sync(bool data_only) override;
    Result<void> settle() override { return {}; }
    Result<void> before_close() override { return {}; }
    Result<bool> mend() override { return false; }

    // For an empty file, whose header is not written yet.
    void moved(std::uint64_t binding) override { path_iv_ = binding; }

  private:
    LegacyFile(const LegacyContext& context, lower::LowerFs& lower, lower::Fd fd)
        : context_(context), lower_(lower), fd_(std::move(fd)) {}
    Result<void> choose_iv();
    const legacy::ContentLayout& layout() const { return context_.codec.layout(); }
    Error damaged(std::uint64_t block, const char* how) const;

    // All of them: LOCKS: the range of the blocks is held, exclusively by who writes.
    // Plaintext of the blocks from `first` on, as far as `plain` goes: to a block's end or the
    // file's.
    Result<void> load(std::uint64_t first, MutBytes plain);
    Result<void> decode(std::uint64_t first, MutBytes lower, MutBytes plain) const;
    // The bytes of one block that are there, then zeros.
    Result<void> load_for_change(std::uint64_t block, MutBytes plain);
    // [off, off + in.size()), filling up the first and last block from what is there, in a file
    // that has `size` bytes afterwards.
    Result<void> store(std::uint64_t off, Bytes in, std::uint64_t size);
    // Blocks from `first` on, the last one as short as `plain` ends.
    Result<void> encode_and_write(std::uint64_t first, Bytes plain);
    // `out`: as many bytes as they are below.
    Result<void> encode(std::uint64_t first, Bytes plain, MutBytes out) const;
    Result<void> write_header();

    // LOCKS: the whole file.
    // Everything up to the block of `size` is there, and zeros.
    Result<void> pad(std::uint64_t size);
    Result<void> grow(std::uint64_t size);
    Result<void> shrink(std::uint64_t size);
    Result<void> zero(std::uint64_t off, std::uint64_t size);
    Result<void> punch_blocks(std::uint64_t first, std::uint64_t end);
    // Runs `change`, which writes beyond the size; what it left is cut off if it fails, and the
    // last block put back.
    template <typename Act>
    Result<void> or_as_before(const Act& change);

    const LegacyContext& context_;
    lower::LowerFs& lower_;
    lower::Fd fd_;
    RangeLock ranges_;  // of blocks
    // These change under the whole file's range lock only.
    std::atomic<std::uint64_t> size_{0};
    std::uint64_t file_iv_ = 0;
    std::uint64_t path_iv_ = 0;
    bool has_header_ = true;  // below; or the format has none
};

}  // namespace extencfs::core
