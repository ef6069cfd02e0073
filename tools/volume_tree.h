// SPDX-License-Identifier: Apache-2.0
// A volume of any format, opened for reading by a command without being mounted. Works beside a
// mount.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "encfs/core/filesystem.h"
#include "encfs/daemon/credential.h"
#include "encfs/daemon/failure.h"
#include "encfs/daemon/volume_source.h"

namespace extencfs::tools {

struct TreeEntry {
    std::string name;
    struct stat attr {};
};

// THREADS: one at a time.
class VolumeTree {
  public:
    // `read_password`: asked once it is known that there is a volume. ERRORS: those of a mount.
    static daemon::Outcome<std::unique_ptr<VolumeTree>> open(
        const std::string& directory, const daemon::LegacyChoices& legacy,
        const std::function<daemon::Outcome<daemon::Credential>(const volume::Config*)>&
            read_password);
    ~VolumeTree();
    VolumeTree(const VolumeTree&) = delete;
    VolumeTree& operator=(const VolumeTree&) = delete;

    // Paths are relative to the volume's root; '/' before and after is passed over.
    // The lower path of a plaintext path. In EncFS volumes nothing need be there.
    core::Result<std::string> encode(std::string_view path) const;
    core::Result<std::string> decode(std::string_view lower_path) const;

    core::Result<core::Entry> find(std::string_view path);
    // Without "." and "..", in the order of their names.
    core::Result<std::vector<TreeEntry>> list(core::NodeId directory);
    // Hands over the bytes of a file piece by piece until `take` returns false.
    core::Result<void> read(core::NodeId file, const std::function<bool(Bytes)>& take);
    core::Filesystem& fs() { return *fs_; }

    // Calls `found` for every name that does not decode, with the plaintext path of its directory
    // ("/dir/") and the lower path of the name ("dir/name", from the root); all of a directory in
    // one go.
    using Found = std::function<void(const std::string& plain, const std::string& lower)>;
    core::Result<void> undecodable(const Found& found);

  private:
    VolumeTree() = default;
    // Which way names are translated.
    enum class Way : bool { kEncode, kDecode };
    core::Result<std::string> translate(std::string_view path, Way way) const;
    core::Result<void> search(const Found& found, int dirfd, const core::DirContext& context,
                              const std::string& plain, const std::string& lower_path);

    std::unique_ptr<lower::LowerFs> lower_;
    std::unique_ptr<daemon::VolumeSource> source_;
    std::unique_ptr<core::Filesystem> fs_;
    const core::VolumeFormat* format_ = nullptr;  // of fs_
};

}  // namespace extencfs::tools
