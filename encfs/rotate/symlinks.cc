// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/symlinks.h"

#include <fcntl.h>

#include <cerrno>

#include "crypto/encoding.h"
#include "crypto/kdf.h"

namespace extencfs::rotate {
namespace {

constexpr const char* kNew = "extencfs.t.rotation-s";
const std::string kKeptPrefix = std::string(volume::kRotationKeepPrefix) + "s";

// Targets are sealed with random nonces, so that two symlinks have no lower target in common.
std::string kept_name(std::string_view lower_target) {
    ByteArray<32> hash;
    crypto::hash256(bytes_of(lower_target), hash);
    return kKeptPrefix + crypto::hex_encode(hash);
}

lower::Result<void> unlink_if_there(lower::LowerFs& fs, int dirfd, const std::string& name) {
    auto gone = fs.unlink(dirfd, name);
    if (!gone && gone.error().value == ENOENT) return {};
    return gone;
}

// The bytes of the file of a long target; none where it is missing.
lower::Result<ByteVector> read_long(const Tools& tools, int dirfd, const std::string& id) {
    auto file = tools.fs.open(dirfd, id, O_RDONLY | O_NONBLOCK, 0);
    if (!file && file.error().value == ENOENT) return ByteVector{};
    if (!file) return std::unexpected(file.error());
    ByteVector bytes(volume::kMaxTarget + 128);
    const auto got = tools.fs.pread(file->get(), bytes, 0);
    if (!got) return std::unexpected(got.error());
    bytes.resize(*got);
    return bytes;
}

}  // namespace

lower::Result<Symlinks::Target> Symlinks::open(std::string_view lower_target) const {
    ByteVector file;
    const auto ref = volume::SymlinkCodec::parse_ref(lower_target);
    if (ref) {
        auto dir =
            tools_.fs.open(tools_.root_fd, volume::kLongSymlinkDir, O_RDONLY | O_DIRECTORY, 0);
        if (!dir && dir.error().value == ENOENT) return Target{nullptr, {}};
        if (!dir) return std::unexpected(dir.error());
        auto bytes = read_long(tools_, dir->get(), ref->id);
        if (!bytes) return std::unexpected(bytes.error());
        file = std::move(*bytes);
    }
    auto [keys, plain] = open_under_any(tools_.keys, [&](const volume::GenerationKeys& under) {
        return ref ? under.symlinks.open_long(*ref, file)
                   : under.symlinks.open_inline(lower_target);
    });
    return Target{keys, keys != nullptr ? std::move(*plain) : std::string()};
}

lower::Result<std::string> Symlinks::seal_target(std::string_view plain) const {
    const auto& codec = tools_.now().symlinks;
    if (plain.size() <= volume::kMaxInlineTarget) {
        auto sealed = codec.seal_inline(plain);
        if (!sealed) return std::unexpected(lower::Errno{EIO});
        return std::move(*sealed);
    }
    auto sealed = codec.seal_long(plain);
    if (!sealed) return std::unexpected(lower::Errno{EIO});
    const auto dir =
        tools_.fs.open(tools_.root_fd, volume::kLongSymlinkDir, O_RDONLY | O_DIRECTORY, 0);
    if (!dir) return std::unexpected(dir.error());
    const auto file = tools_.fs.open(dir->get(), sealed->ref.id, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (!file) return std::unexpected(file.error());
    auto done = tools_.fs.pwrite(file->get(), sealed->file_bytes, 0);
    // Nothing syncs a symlink alone: its text must be durable before its name can be.
    if (done) done = tools_.fs.fsync(file->get());
    if (done) done = tools_.fs.syncfs(dir->get());
    if (!done) {
        (void)tools_.fs.unlink(dir->get(), sealed->ref.id);
        return std::unexpected(done.error());
    }
    return std::move(sealed->lower_target);
}

lower::Result<void> Symlinks::make(const std::string& plain, int dirfd, const std::string& name,
                                   const struct stat& is) const {
    const auto target = seal_target(plain);
    if (!target) return std::unexpected(target.error());
    if (auto free = unlink_if_there(tools_.fs, dirfd, kNew); !free) return free;
    if (auto made = tools_.fs.symlink(*target, dirfd, kNew); !made) return made;
    const auto fresh = tools_.fs.stat_at(dirfd, kNew);
    if (!fresh) return std::unexpected(fresh.error());
    auto done = lower::Result<void>{};
    if (fresh->st_uid != is.st_uid || fresh->st_gid != is.st_gid) {
        done = tools_.fs.chown_at(dirfd, kNew, is.st_uid, is.st_gid);
    }
    const struct timespec times[2] = {is.st_atim, is.st_mtim};
    if (done) done = tools_.fs.utimens_at(dirfd, kNew, times);
    if (done) done = tools_.fs.rename(dirfd, kNew, dirfd, name, lower::RenameMode::kReplace);
    if (!done) (void)tools_.fs.unlink(dirfd, kNew);
    return done;
}

lower::Result<LinkState> Symlinks::look(int dirfd, const std::string& entry) const {
    const auto lower_target = tools_.fs.readlink(dirfd, entry);
    if (!lower_target) return std::unexpected(lower_target.error());
    const auto target = open(*lower_target);
    if (!target) return std::unexpected(target.error());
    if (target->keys == nullptr) return LinkState::kDamaged;
    return tools_.is_now(target->keys) ? LinkState::kNew : LinkState::kReplaced;
}

lower::Result<bool> Symlinks::prepare(int dirfd, const std::string& entry, const struct stat& is) {
    if (is.st_nlink == 1) return false;
    const auto lower_target = tools_.fs.readlink(dirfd, entry);
    if (!lower_target) return std::unexpected(lower_target.error());
    const auto target = open(*lower_target);
    if (!target) return std::unexpected(target.error());
    if (target->keys == nullptr || tools_.is_now(target->keys)) return false;
    const std::string kept = kept_name(*lower_target);
    if (tools_.fs.stat_at(tools_.root_fd, kept)) return false;
    if (auto made = make(target->plain, tools_.root_fd, kept, is); !made) {
        return std::unexpected(made.error());
    }
    return true;
}

lower::Result<LinkState> Symlinks::seal(int dirfd, const std::string& entry,
                                        const struct stat& is) {
    const auto lower_target = tools_.fs.readlink(dirfd, entry);
    if (!lower_target) return std::unexpected(lower_target.error());
    const auto target = open(*lower_target);
    if (!target) return std::unexpected(target.error());
    if (target->keys == nullptr) return LinkState::kDamaged;
    if (tools_.is_now(target->keys)) return LinkState::kNew;
    const std::string kept = kept_name(*lower_target);
    const bool waits = tools_.fs.stat_at(tools_.root_fd, kept).has_value();
    if (!waits && is.st_nlink == 1) {
        auto made = make(target->plain, dirfd, entry, is);
        if (!made) return std::unexpected(made.error());
        return LinkState::kReplaced;
    }
    // It has, or had, other names: they get the same new symlink.
    if (!waits) {
        if (auto made = make(target->plain, tools_.root_fd, kept, is); !made) {
            return std::unexpected(made.error());
        }
        // Before one of its old names is replaced: the others are found by it.
        if (auto synced = tools_.fs.syncfs(tools_.root_fd); !synced) {
            return std::unexpected(synced.error());
        }
    }
    auto done = unlink_if_there(tools_.fs, dirfd, kNew);
    if (done) done = tools_.fs.link(tools_.root_fd, kept, dirfd, kNew);
    if (done) done = tools_.fs.rename(dirfd, kNew, dirfd, entry, lower::RenameMode::kReplace);
    if (!done) return std::unexpected(done.error());
    return LinkState::kReplaced;
}

lower::Result<void> Symlinks::clean() {
    std::vector<std::string> kept;
    auto done = tools_.fs.list(tools_.root_fd, [&](const lower::DirEntry& entry) {
        if (entry.name.starts_with(volume::kRotationKeepPrefix)) kept.emplace_back(entry.name);
        return true;
    });
    if (!done) return done;
    for (const std::string& name : kept) {
        if (auto gone = unlink_if_there(tools_.fs, tools_.root_fd, name); !gone) return gone;
    }
    const auto dir =
        tools_.fs.open(tools_.root_fd, volume::kLongSymlinkDir, O_RDONLY | O_DIRECTORY, 0);
    if (!dir) {
        if (dir.error().value == ENOENT) return {};
        return std::unexpected(dir.error());
    }
    std::vector<std::string> files;
    done = tools_.fs.list(dir->get(), [&](const lower::DirEntry& entry) {
        files.emplace_back(entry.name);
        return true;
    });
    if (!done) return done;
    for (const std::string& id : files) {
        const auto bytes = read_long(tools_, dir->get(), id);
        if (!bytes) return std::unexpected(bytes.error());
        const std::size_t overhead = 40;  // of a sealed box
        const volume::LongTargetRef ref{id, bytes->size() - std::min(bytes->size(), overhead)};
        // Only what an older key opens: what opens under none may be somebody's yet.
        const auto [keys, plain] =
            open_under_any(tools_.keys, [&](const volume::GenerationKeys& under) {
                return under.symlinks.open_long(ref, *bytes);
            });
        if (keys == nullptr || tools_.is_now(keys)) continue;
        if (auto gone = unlink_if_there(tools_.fs, dir->get(), id); !gone) return gone;
    }
    return {};
}

}  // namespace extencfs::rotate
