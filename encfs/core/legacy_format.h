// SPDX-License-Identifier: Apache-2.0
// EncFS 1.x volumes behind the VolumeFormat seam. The bytes are encfs/legacy's business.
//
// A directory's context is the chain value of its name, where names are chained: it follows from
// the path, so that nothing is kept in the directory, and a rename changes what lies below.
#pragma once

#include <memory>

#include "encfs/core/legacy_file.h"
#include "encfs/core/plain_parts.h"
#include "encfs/core/sealed_file.h"
#include "encfs/legacy/config.h"

namespace extencfs::core {

// What an unlocked volume is.
struct LegacyVolume {
    legacy::Parameters parameters;
    std::shared_ptr<const crypto::LegacyKey> key;
    legacy::MacPolicy macs = legacy::MacPolicy::kCheck;
    // Where blocks are sealed (EncFS 2).
    std::shared_ptr<const crypto::GcmSivKey> seal = nullptr;
};

constexpr std::size_t kMostNameBytes = 255;  // below

class LegacyFormat final : public PlainParts {
  public:
    LegacyFormat(LegacyVolume volume, const FormatHost& host);

    PathBinding path_binding() const override { return binding_; }
    Result<std::unique_ptr<PathMove>> begin_move(lower::LowerFs& lower, const Moving& moving,
                                                 PathWatch& watch) const override;
    Result<void> recover(lower::LowerFs& lower, int rootfd) const override;
    void end(lower::LowerFs& lower) const override;
    DirContext root() const override;
    std::size_t longest_name() const override { return longest_name_; }
    Result<CipherName> encode_name(const DirContext& dir, std::string_view plain) const override;
    Result<std::string> decode_name(lower::LowerFs& lower, int dirfd, const DirContext& dir,
                                    std::string_view entry) const override;
    bool is_reserved(std::string_view entry) const override;
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
    Result<std::string> read_symlink(lower::LowerFs& lower, int rootfd, const FilePlace& place,
                                     std::string_view lower_target) const override;
    std::uint64_t symlink_size_at(const FilePlace& place,
                                  std::string_view lower_target) const override;
    // EncFS 2 encodes them, which is not implemented: they are hidden.
    bool owns_xattr(std::string_view lower_name) const override {
        return !v7_ && PlainParts::owns_xattr(lower_name);
    }
    using PlainParts::symlink_size;
    std::uint64_t symlink_size(std::string_view lower_target) const override;

  private:
    // The name of `entry` in a directory, with the chain value for what lies below it.
    Result<legacy::ChainedName> decode(const DirContext& dir, std::string_view entry) const;
    // What a file's header is coded with.
    Result<std::uint64_t> path_iv(const FilePlace* place) const;

    std::shared_ptr<const crypto::LegacyKey> key_;
    legacy::NameCodec names_;
    LegacyContext context_;
    PathBinding binding_;
    bool v7_;  // of EncFS 2: for reading only
    std::optional<legacy::SealedCodec> sealed_;
    std::size_t longest_name_ = kMostNameBytes;
};

FormatMaker legacy_format(LegacyVolume volume);

}  // namespace extencfs::core
