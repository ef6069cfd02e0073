// SPDX-License-Identifier: Apache-2.0
// The encrypted view of a plain directory, as EncFS's reverse mode gives it: names, symlinks and
// contents below are plain, and what is shown is what an EncFS volume would hold. What is written
// to it is decoded, where that is asked for and the settings allow it. What lies below may change
// at any time.
#pragma once

#include <memory>

#include "encfs/core/legacy_format.h"
#include "encfs/core/legacy_reverse_file.h"
#include "encfs/core/plain_parts.h"

namespace extencfs::core {

constexpr char kShownConfig[] = ".encfs6.xml";

// Whether a volume's settings allow for such a view: a name or a block must follow from what it is
// alone.
bool can_reverse(const legacy::Parameters& parameters);
// Whether it may be written: with headers, bytes would depend on inodes that do not exist yet.
bool can_reverse_write(const legacy::Parameters& parameters);

class LegacyReverse final : public PlainParts {
  public:
    // `config_ino`: the inode of kShownConfig in the root, which is shown as it is, by its own name
    // and in no listing; 0: none is there. Older configurations are files like any other, as in
    // EncFS 1.9.5. In a view that can be written it has no name at all, so that nothing replaces
    // it. REQUIRES: can_reverse(); kWrite: can_reverse_write().
    LegacyReverse(LegacyVolume volume, std::uint64_t config_ino, ReverseFile::Access access);

    DirContext root() const override;
    Result<CipherName> encode_name(const DirContext& dir, std::string_view shown) const override;
    Result<std::string> decode_name(lower::LowerFs& lower, int dirfd, const DirContext& dir,
                                    std::string_view entry) const override;
    bool is_reserved(std::string_view) const override { return false; }
    Result<DirContext> open_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                      std::string_view entry,
                                      std::vector<std::string>& unsynced) const override;
    Result<void> clear_directory(lower::LowerFs& lower, int dirfd) const override;
    std::optional<std::uint64_t> size_from_stat(const struct stat& lower_stat) const override;
    Result<std::shared_ptr<ContentFile>> create_content(lower::LowerFs& lower, lower::Fd fd,
                                                        const FilePlace* place) const override;
    Result<std::shared_ptr<ContentFile>> open_content(lower::LowerFs& lower, lower::Fd fd,
                                                      const struct stat& lower_stat,
                                                      const FilePlace* place) const override;
    Result<std::string> encode_symlink(lower::LowerFs& lower, int rootfd,
                                       std::string_view target) const override;
    Result<std::string> decode_symlink(lower::LowerFs& lower, int rootfd,
                                       std::string_view lower_target) const override;
    using PlainParts::symlink_size;
    std::uint64_t symlink_size(std::string_view lower_target) const override;

  private:
    legacy::NameCodec names_;
    legacy::ContentCodec codec_;
    std::uint64_t config_ino_;
    ReverseFile::Access access_;
};

FormatMaker legacy_reverse(LegacyVolume volume, std::uint64_t config_ino,
                           ReverseFile::Access access = ReverseFile::Access::kRead);

}  // namespace extencfs::core
