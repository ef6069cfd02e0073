// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/root_names.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>
#include <string>

namespace extencfs::daemon {
namespace {

// More than the longest name's.
constexpr std::size_t kMostSideBytes = 1024;

// Nothing where it cannot be read: such a name says nothing.
std::optional<ByteVector> side_bytes_of(lower::LowerFs& fs, int root_fd, const std::string& entry) {
    const auto file = fs.open(root_fd, volume::NameCodec::side_name_of(entry),
                              O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (!file) return std::nullopt;
    const auto is = fs.stat(file->get());
    if (!is || !S_ISREG(is->st_mode)) return std::nullopt;
    ByteVector bytes(std::min<std::size_t>(static_cast<std::size_t>(is->st_size), kMostSideBytes));
    const auto size = fs.pread(file->get(), bytes, 0);
    if (!size) return std::nullopt;
    bytes.resize(*size);
    return bytes;
}

enum class Whose { kOurs, kOthers, kForeign };

// By any generation. `decode`: of one of them.
template <typename Decode>
Whose whose_is(const volume::VolumeKeys& keys, Decode&& decode) {
    Whose whose = Whose::kForeign;
    for (const auto& generation : keys.generations()) {
        const auto name = decode(generation->names);
        if (name) return Whose::kOurs;
        if (name.error().kind != volume::ErrorKind::kNotVolumeName) whose = Whose::kOthers;
    }
    return whose;
}

}  // namespace

lower::Result<RootNames> count_root_names(lower::LowerFs& fs, int root_fd,
                                          const volume::VolumeKeys& keys) {
    RootNames names;
    const auto listed = fs.list(root_fd, [&](const lower::DirEntry& entry) {
        Whose whose = Whose::kForeign;
        if (volume::NameCodec::is_long_entry(entry.name)) {
            const auto side = side_bytes_of(fs, root_fd, std::string(entry.name));
            if (!side) return true;
            whose = whose_is(keys, [&](const volume::NameCodec& codec) {
                return codec.decode_long(keys.root_id(), entry.name, *side);
            });
        } else if (entry.name.starts_with(volume::kReservedPrefix) || entry.name == "lost+found") {
            return true;
        } else {
            whose = whose_is(keys, [&](const volume::NameCodec& codec) {
                return codec.decode(keys.root_id(), entry.name);
            });
        }
        switch (whose) {
            case Whose::kOurs:
                ++names.ours;
                break;
            case Whose::kOthers:
                ++names.others;
                break;
            case Whose::kForeign:
                ++names.foreign;
                break;
        }
        return true;
    });
    if (!listed) return std::unexpected(listed.error());
    return names;
}

}  // namespace extencfs::daemon
