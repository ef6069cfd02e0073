// SPDX-License-Identifier: Apache-2.0
// What EncFS volumes keep nothing of: no files of the format's own in directories, no side files,
// attributes as they are.
#pragma once

#include "encfs/core/volume_format.h"

namespace extencfs::core {

// The generation in the context of directories but the root, where the configuration lies.
constexpr std::uint32_t kBelowRoot = 1;

// Whether that is the configuration, which is no name of the volume.
inline bool is_config(const DirContext& dir, std::string_view entry) {
    return dir.generation != kBelowRoot && (entry == ".encfs6.xml" || entry == ".encfs5" ||
                                            entry == ".encfs4" || entry == ".encfs7");
}

class PlainParts : public VolumeFormat {
  public:
    std::string entry_of_side_file(std::string_view) const override { return {}; }
    Result<DirContext> create_directory(lower::LowerFs& lower, int dirfd, const DirContext& parent,
                                        std::string_view entry,
                                        std::vector<std::string>& unsynced) const override {
        return open_directory(lower, dirfd, parent, entry, unsynced);
    }
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
    // Attributes lie below as they are, bound to nothing.
    Result<ByteArray<16>> content_id(lower::LowerFs&, int) const override {
        return ByteArray<16>{};
    }
    std::optional<std::uint64_t> symlink_size(std::uint64_t) const override { return {}; }
    void drop_symlink(lower::LowerFs&, int, std::string_view) const override {}
    bool owns_xattr(std::string_view lower_name) const override {
        return lower_name.starts_with("user.") || lower_name.starts_with("trusted.");
    }
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
};

}  // namespace extencfs::core
