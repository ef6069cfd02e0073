// SPDX-License-Identifier: Apache-2.0
// The contents of one regular file of an EncFS 2 volume (encfs/legacy/FORMAT.md "V7") over a lower
// descriptor: for reading only.
#pragma once

#include <memory>

#include "encfs/core/volume_format.h"
#include "encfs/legacy/sealed_contents.h"

namespace extencfs::core {

class SealedFile final : public ContentFile {
  public:
    // `codec` and `on_damage` outlive it. `lower_size`: its st_size. ERRORS: kDamaged (it ends
    // within its header), kLower.
    static Result<std::shared_ptr<SealedFile>> open(const legacy::SealedCodec& codec,
                                                    const FileDamage& on_damage,
                                                    lower::LowerFs& lower, lower::Fd fd,
                                                    std::uint64_t lower_size,
                                                    std::uint64_t path_iv);

    int fd() const override { return fd_.get(); }
    std::uint64_t size() const override { return size_; }
    Result<Bytes> read(std::uint64_t off, std::size_t size, IoBuffer& buffer) override;
    Result<void> write(std::uint64_t, Bytes, WriteSource) override { return read_only(); }
    Result<void> truncate(std::uint64_t) override { return read_only(); }
    Result<void> allocate(int, std::uint64_t, std::uint64_t) override { return read_only(); }
    // A hole is not told from data.
    Result<std::uint64_t> seek(std::uint64_t off, int whence) override;
    Result<void> sync(bool) override { return {}; }
    Result<void> settle() override { return {}; }
    Result<void> before_close() override { return {}; }
    Result<bool> mend() override { return false; }

  private:
    SealedFile(const legacy::SealedCodec& codec, const FileDamage& on_damage, lower::LowerFs& lower,
               lower::Fd fd)
        : codec_(codec), on_damage_(on_damage), lower_(lower), fd_(std::move(fd)) {}
    static std::unexpected<Error> read_only() { return fail(ErrorKind::kReadOnly); }
    Error damaged(std::uint64_t block, const char* how) const;

    const legacy::SealedCodec& codec_;
    const FileDamage& on_damage_;
    lower::LowerFs& lower_;
    lower::Fd fd_;
    std::uint64_t size_ = 0;
    legacy::FileIv file_iv_;
};

}  // namespace extencfs::core
