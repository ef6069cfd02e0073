// SPDX-License-Identifier: Apache-2.0
// EncFS 1.x volumes behind the VolumeFormat seam. The bytes are encfs/legacy's business.
//
// A directory's context is the chain value of its name, where names are chained: it follows from
// the path, so that nothing is kept in the directory, and a rename changes what lies below.
#pragma once

#include <memory>

#include "encfs/core/legacy_file.h"
#include "encfs/core/volume_format.h"
#include "encfs/legacy/config.h"

namespace extencfs::core {

// What an unlocked volume is.
struct LegacyVolume {
    legacy::Parameters parameters;
    std::shared_ptr<const crypto::LegacyKey> key;
    legacy::MacPolicy macs = legacy::MacPolicy::kCheck;
};

class LegacyFormat final : public VolumeFormat {
  public:
    LegacyFormat(LegacyVolume volume, const FormatHost& host);

    PathBinding path_binding() const override { return binding_; }
    Result<std::unique_ptr<PathMove>> begin_move(lower::LowerFs& lower, const Moving& moving,
                                                 PathWatch& watch) const override;
    Result<void> recover(lower::LowerFs& lower, int rootfd) const override;
    void end(lower::LowerFs& lower) const override;
    DirContext root() const override;
    Result<CipherName> encode_name(const DirContext& dir, std::string_view plain) const override;
    Result<std::string> decode_name(lower::LowerFs& lower, int dirfd, const DirContext& dir,
                                    std::string_view entry) const override;
    bool is_reserved(std::string_view entry) const override;
    std::string entry_of_side_file(std::string_view) const override { return {}; }
    Result<DirContext> open_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                      std::string_view entry,
                                      std::vector<std::string>& unsynced) const override;
    Result<DirContext> create_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                        std::string_view entry,
                                        std::vector<std::string>& unsynced) const override;
    Result<void> clear_directory(lower::LowerFs& lower, int dirfd) const override;
    Result<void> restore_directory(lower::LowerFs&, int, const DirContext&, std::string_view,
                                   const DirContext&, std::vector<std::string>&) const override {
        return {};
    }
    Result<void> before_directory_rename(lower::LowerFs&, int, const DirContext&, std::string_view,
                                         const DirContext&, std::string_view) const override {
        return {};
    }
    Result<void> after_directory_rename(lower::LowerFs&, int, const DirContext&,
                                        std::string_view) const override {
        return {};
    }
    std::optional<std::uint64_t> size_from_stat(const struct stat& lower_stat) const override;
    Result<std::shared_ptr<ContentFile>> create_content(lower::LowerFs& lower, lower::Fd fd,
                                                        const FilePlace* place) const override;
    Result<std::shared_ptr<ContentFile>> open_content(lower::LowerFs& lower, lower::Fd fd,
                                                      const struct stat& lower_stat,
                                                      const FilePlace* place) const override;
    // Attributes lie below as they are, bound to nothing.
    Result<ByteArray<16>> content_id(lower::LowerFs&, int) const override {
        return ByteArray<16>{};
    }
    Result<std::string> encode_symlink(lower::LowerFs& lower, int rootfd,
                                       std::string_view target) const override;
    Result<std::string> decode_symlink(lower::LowerFs& lower, int rootfd,
                                       std::string_view lower_target) const override;
    std::optional<std::uint64_t> symlink_size(std::uint64_t) const override { return {}; }
    std::uint64_t symlink_size(std::string_view lower_target) const override;
    void drop_symlink(lower::LowerFs&, int, std::string_view) const override {}
    bool owns_xattr(std::string_view lower_name) const override;
    Result<std::string> encode_xattr_name(const ByteArray<16>&,
                                          std::string_view name) const override {
        return std::string(name);
    }
    Result<std::string> decode_xattr_name(const ByteArray<16>&,
                                          std::string_view lower_name) const override {
        return std::string(lower_name);
    }
    Result<ByteVector> seal_xattr(const ByteArray<16>&, std::string_view,
                                  Bytes value) const override {
        return ByteVector(value.begin(), value.end());
    }
    Result<ByteVector> open_xattr(const ByteArray<16>&, std::string_view,
                                  Bytes sealed) const override {
        return ByteVector(sealed.begin(), sealed.end());
    }

  private:
    // The name of `entry` in a directory, with the chain value for what lies below it.
    Result<legacy::ChainedName> decode(const DirContext& dir, std::string_view entry) const;
    // What a file's header is coded with.
    Result<std::uint64_t> path_iv(const FilePlace* place) const;

    std::shared_ptr<const crypto::LegacyKey> key_;
    legacy::NameCodec names_;
    LegacyContext context_;
    PathBinding binding_;
};

FormatMaker legacy_format(LegacyVolume volume);

}  // namespace extencfs::core
