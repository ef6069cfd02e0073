// SPDX-License-Identifier: Apache-2.0
// The contents of one plain file as an EncFS volume would hold it: what is read is encoded, what is
// written decoded. Knows nothing of names.
#pragma once

#include <atomic>
#include <shared_mutex>

#include "encfs/core/volume_format.h"
#include "encfs/legacy/contents.h"

namespace extencfs::core {

// Of a plain file of that size; an empty one has no header.
std::uint64_t shown_size(const legacy::ContentLayout& layout, std::uint64_t size);

// A write keeps every shown byte that it does not cover, so that the plain bytes of a last block
// that becomes longer or shorter all change. Killed in between, that block is lost: the plain file
// has no room for a journal.
class ReverseFile final : public ContentFile {
  public:
    // What may be done with it. Blocks with a header are the plain file's own, and change with it.
    enum class Access : bool { kRead, kWrite };
    // `codec` nullptr: shown as it is, and read only. `file_iv` 0: no header.
    // REQUIRES: kWrite: the layout has no header and no overhead.
    ReverseFile(const legacy::ContentCodec* codec, Access access, lower::LowerFs& lower,
                lower::Fd fd, std::uint64_t file_iv, std::uint64_t size)
        : codec_(codec),
          writable_(access == Access::kWrite && codec != nullptr),
          lower_(lower),
          fd_(std::move(fd)),
          file_iv_(file_iv),
          size_(size) {}

    int fd() const override { return fd_.get(); }
    std::uint64_t size() const override { return size_; }
    Result<Bytes> read(std::uint64_t off, std::size_t size, IoBuffer& buffer) override;
    Result<void> write(std::uint64_t off, Bytes in, WriteSource source) override;
    Result<void> truncate(std::uint64_t size) override;
    Result<void> allocate(int, std::uint64_t, std::uint64_t) override;
    Result<std::uint64_t> seek(std::uint64_t off, int whence) override;
    Result<void> sync(bool data_only) override;
    Result<void> settle() override { return {}; }
    Result<void> before_close() override { return {}; }
    Result<bool> mend() override { return false; }

  private:
    std::size_t block_size() const { return codec_->layout().block_size; }
    Result<std::uint64_t> plain_size();
    // Shown blocks from `first` on, in place of `out`, which ends where a block or the file does.
    Result<void> encode(std::uint64_t first, MutBytes out);

    // LOCKS: all of them: writing_, exclusively.
    // Decodes shown blocks from `first` on, and writes them; the last one is as short as it ends.
    Result<void> put(std::uint64_t first, MutBytes shown);
    // The shown bytes of a block of a file of `size` bytes, then zeros.
    Result<void> get(std::uint64_t block, std::uint64_t size, MutBytes out);
    // [off, off + in.size()) of a file that has `size` bytes now, whose blocks before `off` are
    // whole.
    Result<void> store(std::uint64_t off, Bytes in, std::uint64_t size);
    // Makes a file of `size` bytes so long that `until` lies in its last block or behind it.
    Result<void> pad(std::uint64_t size, std::uint64_t until);
    Result<void> shrink(std::uint64_t size);

    const legacy::ContentCodec* codec_;
    bool writable_;
    lower::LowerFs& lower_;
    lower::Fd fd_;
    std::uint64_t file_iv_;
    std::atomic<std::uint64_t> size_;  // shown, as it was last seen here
    std::shared_mutex writing_;
};

}  // namespace extencfs::core
