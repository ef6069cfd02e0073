// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/directory.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "encfs/volume/wire.h"

namespace extencfs::rotate {
namespace {

using volume::NameCodec;

constexpr std::size_t kMostSideBytes = 512;

// The bytes of a long name's side file; none where it is missing.
lower::Result<ByteVector> side_bytes(const Tools& tools, int dirfd, const std::string& entry) {
    const auto side = tools.fs.open(dirfd, NameCodec::side_name_of(entry), O_RDONLY, 0);
    if (!side && side.error().value == ENOENT) return ByteVector{};
    if (!side) return std::unexpected(side.error());
    ByteVector bytes(kMostSideBytes);
    const auto got = tools.fs.pread(side->get(), bytes, 0);
    if (!got) return std::unexpected(got.error());
    bytes.resize(*got);
    return bytes;
}

enum class NameState : std::uint8_t { kGood, kForeign, kUnknown };

lower::Result<NameState> decode(const Tools& tools, const OpenDir& dir, Item& item) {
    const bool is_long = NameCodec::is_long_entry(item.entry);
    ByteVector side;
    if (is_long) {
        auto bytes = side_bytes(tools, dir.fd.get(), item.entry);
        if (!bytes) return std::unexpected(bytes.error());
        side = std::move(*bytes);
    }
    auto [keys, plain] = open_under_any(tools.keys, [&](const volume::GenerationKeys& under) {
        return is_long ? under.names.decode_long(dir.id, item.entry, side)
                       : under.names.decode(dir.id, item.entry);
    });
    if (keys == nullptr) {
        return plain.error().kind == volume::ErrorKind::kNotVolumeName ? NameState::kForeign
                                                                       : NameState::kUnknown;
    }
    item.keys = keys;
    item.plain = std::move(*plain);
    return NameState::kGood;
}

enum class IdState : std::uint8_t { kGood, kNone, kDamaged };

lower::Result<IdState> read_id_file(const Tools& tools, int dirfd, std::optional<IdFile>& out) {
    auto fd = tools.fs.open(dirfd, volume::kDirFileName, O_RDWR, 0);
    if (!fd && fd.error().value == EACCES) {
        // The mode of a file that nobody sees: it is ours alone.
        if (auto lifted = tools.fs.chmod_at(dirfd, volume::kDirFileName, 0644); !lifted) {
            return std::unexpected(lifted.error());
        }
        fd = tools.fs.open(dirfd, volume::kDirFileName, O_RDWR, 0);
    }
    if (!fd && fd.error().value == ENOENT) return IdState::kNone;
    if (!fd) return std::unexpected(fd.error());
    tools.forget_cached(fd->get());
    ByteArray<volume::kDirFileSize> bytes;
    const auto got = tools.fs.pread(fd->get(), bytes, 0);
    if (!got) return std::unexpected(got.error());
    if (volume::all_zero(Bytes(bytes).first(*got))) return IdState::kNone;
    if (*got < bytes.size()) return IdState::kDamaged;
    auto [keys, dir] = open_under_any(tools.keys, [&](const volume::GenerationKeys& under) {
        return volume::decode_dir_file(bytes, under.dir_mac.bytes());
    });
    if (keys == nullptr) return IdState::kDamaged;
    out = IdFile{std::move(*fd), *dir, keys};
    return IdState::kGood;
}

}  // namespace

bool is_valid_at(const IdFile& file, const volume::DirId& parent, const std::string& entry) {
    const auto place = volume::bind_place(file.keys->dir_bind.bytes(), parent, entry);
    return crypto::equal_constant_time(place, file.dir.here) ||
           (!volume::all_zero(file.dir.next) && crypto::equal_constant_time(place, file.dir.next));
}

daemon::Outcome<Listing> list(const Tools& tools, const OpenDir& dir) {
    Listing listing;
    std::vector<std::string> entries;
    const auto listed = tools.fs.list(dir.fd.get(), [&](const lower::DirEntry& entry) {
        const bool reserved = entry.name.starts_with(volume::kReservedPrefix) &&
                              !NameCodec::is_long_entry(entry.name);
        if (!reserved) {
            entries.emplace_back(entry.name);
        } else if (entry.name.starts_with(volume::kLongSidePrefix)) {
            listing.side_files.emplace_back(entry.name);
        } else if (entry.name.starts_with(volume::kTempPrefix)) {
            listing.unfinished.emplace_back(entry.name);
        }
        return true;
    });
    if (!listed) return cannot(dir.path, "listed", listed.error());
    for (std::string& entry : entries) {
        Item item{.entry = std::move(entry), .plain = {}, .keys = nullptr};
        const auto state = decode(tools, dir, item);
        if (!state) return cannot(below(dir.path, item.entry), "read", state.error());
        if (*state == NameState::kForeign) continue;
        if (*state == NameState::kUnknown) {
            listing.unknown.push_back(std::move(item.entry));
            continue;
        }
        const auto is = tools.fs.stat_at(dir.fd.get(), item.entry);
        if (!is) return cannot(below(dir.path, item.entry), "read", is.error());
        item.is = *is;
        listing.items.push_back(std::move(item));
    }
    return listing;
}

daemon::Outcome<Dir> open_root(const Tools& tools) {
    auto dir = std::make_shared<OpenDir>();
    dir->fd = lower::Fd(::fcntl(tools.root_fd, F_DUPFD_CLOEXEC, 3));
    const auto is = tools.fs.stat(tools.root_fd);
    if (!dir->fd || !is) return cannot("", "opened", is ? lower::Errno{errno} : is.error());
    dir->ino = is->st_ino;
    dir->id = tools.keys.root_id();
    return dir;
}

lower::Result<lower::Fd> open_lifted(const Tools& tools, int dirfd, const Item& item, int flags) {
    auto fd = tools.fs.open(dirfd, item.entry, flags, 0);
    if (fd || fd.error().value != EACCES || item.is.st_uid != ::geteuid()) return fd;
    const mode_t more = S_ISDIR(item.is.st_mode) ? S_IRWXU : S_IRUSR | S_IWUSR;
    const mode_t mode = (item.is.st_mode & 07777U) | more;
    if (auto lifted = tools.fs.chmod_at(dirfd, item.entry, mode); !lifted) return fd;
    return tools.fs.open(dirfd, item.entry, flags, 0);
}

daemon::Outcome<std::optional<Child>> open_child(const Tools& tools, const OpenDir& parent,
                                                 const Item& item, Damages& damages) {
    Child child{.dir = std::make_shared<OpenDir>(), .id_file = {}};
    child.dir->path = below(parent.path, item.entry);
    child.dir->ino = item.is.st_ino;
    const std::string& path = child.dir->path;
    auto fd = open_lifted(tools, parent.fd.get(), item, O_RDONLY | O_DIRECTORY);
    if (!fd) return cannot(path, "opened", fd.error());
    child.dir->fd = std::move(*fd);
    const auto state = read_id_file(tools, child.dir->fd.get(), child.id_file);
    if (!state) return cannot(path, "read", state.error());
    if (*state == IdState::kDamaged) {
        damages.add(path, "the directory's id file does not authenticate");
        return std::nullopt;
    }
    if (*state == IdState::kGood) {
        child.dir->id = child.id_file->dir.id;
        if (is_valid_at(*child.id_file, parent.id, item.entry)) return child;
        damages.add(path, "the directory is not where it belongs");
        return std::nullopt;
    }
    // Made or removed half (FORMAT.md "Directories"): an empty directory, or damage.
    bool empty = true;
    const auto listed = tools.fs.list(child.dir->fd.get(), [&](const lower::DirEntry& entry) {
        empty = entry.name.starts_with(volume::kReservedPrefix) &&
                !NameCodec::is_long_entry(entry.name);
        return empty;
    });
    if (!listed) return cannot(path, "listed", listed.error());
    if (empty) return child;
    damages.add(path, "the directory's id file is missing");
    return std::nullopt;
}

lower::Result<void> write_id_file(const Tools& tools, const OpenDir& parent, const IdFile& file,
                                  std::uint32_t under, const std::string& here,
                                  const std::string& next) {
    const volume::GenerationKeys& keys = tools.now();
    volume::DirFile dir = file.dir;
    dir.key_generation = under;
    dir.next_generation = keys.number;
    dir.here = volume::bind_place(keys.dir_bind.bytes(), parent.id, here);
    dir.next = next.empty() ? volume::Binding{}
                            : volume::bind_place(keys.dir_bind.bytes(), parent.id, next);
    ByteArray<volume::kDirFileSize> bytes;
    volume::encode_dir_file(dir, keys.dir_mac.bytes(), bytes);
    return tools.fs.pwrite(file.fd.get(), bytes, 0);
}

}  // namespace extencfs::rotate
