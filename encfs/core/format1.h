// SPDX-License-Identifier: Apache-2.0
// Volume format 1 behind the VolumeFormat seam: which lower calls its names, directories, symlinks
// and xattrs take. The bytes are encfs/volume's business.
#pragma once

#include <memory>

#include "encfs/core/format1_file.h"
#include "encfs/core/volume_format.h"
#include "encfs/volume/volume_keys.h"

namespace extencfs::core {

class Format1 final : public VolumeFormat {
  public:
    Format1(std::unique_ptr<volume::VolumeKeys> keys, const FormatHost& host);

    DirContext root() const override;
    Result<CipherName> encode_name(const DirContext& dir, std::string_view plain) const override;
    Result<std::string> decode_name(lower::LowerFs& lower, int dirfd, const DirContext& dir,
                                    std::string_view entry) const override;
    bool is_reserved(std::string_view entry) const override;
    std::string entry_of_side_file(std::string_view reserved) const override;
    Result<DirContext> open_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                      std::string_view entry,
                                      std::vector<std::string>& unsynced) const override;
    Result<DirContext> create_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                        std::string_view entry,
                                        std::vector<std::string>& unsynced) const override;
    Result<void> clear_directory(lower::LowerFs& lower, int dirfd) const override;
    Result<void> restore_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                   std::string_view entry, const DirContext& was,
                                   std::vector<std::string>& unsynced) const override;
    Result<void> before_directory_rename(lower::LowerFs& lower, int dirfd,
                                         const DirContext& old_parent, std::string_view old_entry,
                                         const DirContext& new_parent,
                                         std::string_view new_entry) const override;
    Result<void> after_directory_rename(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                        std::string_view entry) const override;
    std::optional<std::uint64_t> size_from_stat(const struct stat& lower_stat) const override;
    Result<std::shared_ptr<ContentFile>> create_content(lower::LowerFs& lower, lower::Fd fd,
                                                        const FilePlace* place) const override;
    Result<std::shared_ptr<ContentFile>> open_content(lower::LowerFs& lower, lower::Fd fd,
                                                      const struct stat& lower_stat,
                                                      const FilePlace* place) const override;
    Result<ByteArray<16>> content_id(lower::LowerFs& lower, int fd) const override;
    Result<std::string> encode_symlink(lower::LowerFs& lower, int rootfd,
                                       std::string_view target) const override;
    Result<std::string> decode_symlink(lower::LowerFs& lower, int rootfd,
                                       std::string_view lower_target) const override;
    std::optional<std::uint64_t> symlink_size(std::uint64_t lower_size) const override;
    std::uint64_t symlink_size(std::string_view lower_target) const override;
    void drop_symlink(lower::LowerFs& lower, int rootfd,
                      std::string_view lower_target) const override;
    bool owns_xattr(std::string_view lower_name) const override;
    Result<std::string> encode_xattr_name(const ByteArray<16>& owner,
                                          std::string_view name) const override;
    Result<std::string> decode_xattr_name(const ByteArray<16>& owner,
                                          std::string_view lower_name) const override;
    Result<ByteVector> seal_xattr(const ByteArray<16>& owner, std::string_view name,
                                  Bytes value) const override;
    Result<ByteVector> open_xattr(const ByteArray<16>& owner, std::string_view name,
                                  Bytes sealed) const override;

    // ---- a rotation of keys. LOCKS: no operation is under way ----
    // `rotating`: their last generation is not everything's yet.
    void take_keys(std::shared_ptr<const volume::VolumeKeys> keys, bool rotating);
    bool is_newest(const DirContext& dir) const {
        return dir.generation == context_.keys->current().number;
    }
    // The same directory once its names are of the newest generation.
    DirContext renewed(const DirContext& dir) const {
        return {dir.id, context_.keys->current().number};
    }
    // Before the lower rename of a directory from `entry` to `new_entry` in `parent`: its id file
    // is the newest generation's, valid at both, and durable. Nothing where there is none.
    // `is_settled`: that it lies at `entry` is durable.
    Result<void> before_renewal(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                std::string_view entry, std::string_view new_entry,
                                bool is_settled) const;
    // Whether the directory's id file, if it has one, says that it lies there. ERRORS: kDamaged.
    Result<void> check_place(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                             std::string_view entry) const;
    // Whether that entry is a name of an older generation.
    bool is_older_name(lower::LowerFs& lower, int dirfd, const DirContext& dir,
                       std::string_view entry) const;
    // The names in the directory at that place are of the newest generation now.
    Result<void> renew_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                 std::string_view entry) const;

  private:
    struct IdFile {
        lower::Fd fd;
        volume::DirFile dir;
        const volume::GenerationKeys* keys;
    };
    // Whether it says that the directory may lie there.
    static bool is_valid_at(const IdFile& file, const DirContext& parent, std::string_view entry);
    // nullopt where the file is missing or holds no byte that is not zero.
    Result<std::optional<IdFile>> read_id_file(lower::LowerFs& lower, int dirfd, int flags) const;
    Result<void> write_id_file(lower::LowerFs& lower, const IdFile& file) const;
    // A first one, with that id.
    Result<void> make_id_file(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                              std::string_view entry, const DirContext& id,
                              std::vector<std::string>& unsynced) const;
    const volume::GenerationKeys& keys_of(const DirContext& dir) const;
    Error damaged(int fd, const std::string& what) const;

    Format1Context context_;
    bool read_only_;
};

// Makes one for a file system that is being opened.
FormatMaker format1(std::unique_ptr<volume::VolumeKeys> keys);

}  // namespace extencfs::core
