// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/node_copy.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace extencfs::migrate {
namespace {

using Side = CopyError::Side;

constexpr std::size_t kChunk = 1024 * 1024;
constexpr std::uint64_t kStatBlock = 512;
constexpr mode_t kWhileCopied = 0600;

std::unexpected<CopyError> failed(Side side, const core::Error& error) {
    return std::unexpected(CopyError{side, error});
}

bool is_acl(std::string_view name) {
    return name.starts_with("system.");
}

}  // namespace

Copied<void> NodeCopier::copy(core::NodeId old, const struct stat& attr, core::NodeId new_parent,
                              std::string_view name, Fresh fresh, const Told& told) {
    auto entry = make(old, attr, new_parent, name);
    if (!entry) return std::unexpected(entry.error());
    const NodeRef made(to_, entry->node);
    Copied<void> done;
    if (S_ISREG(attr.st_mode)) done = copy_contents(old, attr, made.id());
    if (done) done = copy_attributes(old, attr, made.id(), entry->attr, fresh, told);
    if (!done) (void)to_.unlink(new_parent, name);
    return done;
}

Copied<core::Entry> NodeCopier::make(core::NodeId old, const struct stat& attr,
                                     core::NodeId new_parent, std::string_view name) {
    if (S_ISREG(attr.st_mode)) {
        if (auto opened = from_.open_file(old); !opened) return failed(Side::kOld, opened.error());
        auto made = to_.create(new_parent, name, kWhileCopied, {});
        if (!made) return failed(Side::kNew, made.error());
        return *made;
    }
    if (S_ISLNK(attr.st_mode)) {
        const auto target = from_.readlink(old);
        if (!target) return failed(Side::kOld, target.error());
        auto made = to_.symlink(new_parent, name, *target, {});
        if (!made) return failed(Side::kNew, made.error());
        return *made;
    }
    auto made =
        to_.mknod(new_parent, name, (attr.st_mode & S_IFMT) | kWhileCopied, attr.st_rdev, {});
    if (!made) {
        const bool refused = core::is_errno(made.error(), EPERM);
        return failed(refused ? Side::kKind : Side::kNew, made.error());
    }
    return *made;
}

Copied<void> NodeCopier::copy_contents(core::NodeId old, const struct stat& attr,
                                       core::NodeId made) {
    const auto size = static_cast<std::uint64_t>(attr.st_size);
    const bool full = static_cast<std::uint64_t>(attr.st_blocks) * kStatBlock >= size;
    std::uint64_t written = 0;
    for (std::uint64_t off = 0; off < size;) {
        std::uint64_t end = size;
        // What occupies as much as it holds has no holes worth a question.
        if (!full || size > kChunk) {
            const auto data = from_.seek(old, off, SEEK_DATA);
            if (!data && data.error().kind == core::ErrorKind::kPastEnd) break;
            if (!data) return failed(Side::kOld, data.error());
            const auto hole = from_.seek(old, *data, SEEK_HOLE);
            if (!hole) return failed(Side::kOld, hole.error());
            progress_.bytes += *data - off;
            off = *data;
            end = std::min(*hole, size);
        }
        if (auto done = copy_range(old, made, off, end); !done) return done;
        off = written = end;
    }
    if (written == size) return {};
    progress_.bytes += size - written;
    core::AttrChange change;
    change.size_set = true;
    change.size = size;
    if (auto done = to_.setattr(made, change); !done) return failed(Side::kNew, done.error());
    return {};
}

Copied<void> NodeCopier::copy_range(core::NodeId old, core::NodeId made, std::uint64_t off,
                                    std::uint64_t end) {
    static thread_local core::IoBuffer buffer;
    while (off < end) {
        // Another thread's failure ends this one too, in the middle of a large file.
        if (stop_.stopped()) return failed(Side::kNew, {core::ErrorKind::kLower, ECANCELED});
        const auto chunk = from_.read(old, off, std::min<std::uint64_t>(kChunk, end - off), buffer);
        if (!chunk) return failed(Side::kOld, chunk.error());
        if (chunk->empty()) return failed(Side::kOld, {core::ErrorKind::kStale});  // cut meanwhile
        if (auto r = to_.write(made, off, *chunk, core::WriteSource::kCaller, {}); !r)
            return failed(Side::kNew, r.error());
        off += chunk->size();
        progress_.bytes += chunk->size();
    }
    return {};
}

Copied<void> NodeCopier::copy_attributes(core::NodeId old, const struct stat& attr,
                                         core::NodeId made, const struct stat& is, Fresh fresh,
                                         const Told& told) {
    const auto names = xattrs_of(old, attr, told);
    if (fresh == Fresh::kNo) {
        if (auto done = remove_others(names, made, told); !done) return done;
    }
    // While the owner may still write.
    if (auto done = copy_xattrs(old, names, made, told, Attributes::kPlain); !done) return done;
    if (auto done = set_owner(attr, made, is, told); !done) return done;
    core::AttrChange change;
    change.mode_set = !S_ISLNK(attr.st_mode);
    change.mode = attr.st_mode & 07777;
    change.atime_set = change.mtime_set = true;
    change.atime = attr.st_atim;
    change.mtime = attr.st_mtim;
    if (auto done = to_.setattr(made, change); !done) return failed(Side::kNew, done.error());
    // After the mode, which would change them; the group's set-ID bit stays, as nobody asked.
    return copy_xattrs(old, names, made, told, Attributes::kAcls);
}

NodeCopier::Names NodeCopier::xattrs_of(core::NodeId old, const struct stat& attr,
                                        const Told& told) {
    if (S_ISLNK(attr.st_mode)) return std::vector<std::string>();
    auto names = from_.list_xattr(old);
    if (names) return std::move(*names);
    told.add(ProblemKind::kContents, "its extended attributes: " + words_of(names.error()));
    return std::nullopt;
}

Copied<void> NodeCopier::set_owner(const struct stat& attr, core::NodeId made,
                                   const struct stat& is, const Told& told) {
    core::AttrChange change;
    change.uid_set = attr.st_uid != is.st_uid;
    change.gid_set = attr.st_gid != is.st_gid;
    if (!change.uid_set && !change.gid_set) return {};
    change.uid = attr.st_uid;
    change.gid = attr.st_gid;
    const auto done = to_.setattr(made, change);
    if (!done) return not_kept(done.error(), told, "its owner");
    return {};
}

Copied<void> NodeCopier::copy_xattrs(core::NodeId old, const Names& names, core::NodeId made,
                                     const Told& told, Attributes which) {
    if (!names) return {};
    for (const std::string& name : *names) {
        if (is_acl(name) != (which == Attributes::kAcls)) continue;
        const auto value = from_.get_xattr(old, name);
        if (!value) {
            told.add(ProblemKind::kContents,
                     "its attribute " + name + ": " + words_of(value.error()));
            continue;
        }
        const auto done = to_.set_xattr(made, name, *value, 0);
        if (done) continue;
        if (auto go = not_kept(done.error(), told, "its attribute " + name); !go) return go;
    }
    return {};
}

Copied<void> NodeCopier::remove_others(const Names& names, core::NodeId made, const Told& told) {
    const auto there = to_.list_xattr(made);
    if (!names || !there) return {};
    for (const std::string& name : *there) {
        if (std::ranges::find(*names, name) != names->end()) continue;
        const auto done = to_.remove_xattr(made, name);
        if (done) continue;
        if (auto go = not_kept(done.error(), told, "its attribute " + name); !go) return go;
    }
    return {};
}

Copied<void> NodeCopier::not_kept(const core::Error& error, const Told& told,
                                  const std::string& attribute) {
    bool here_only = false;
    for (const int value : {EPERM, EACCES, EOPNOTSUPP, E2BIG, ERANGE, EINVAL})
        here_only = here_only || core::errno_of(error) == value;
    if (core::is_errno(error, ENOSPC)) {
        // Attributes have little room of their own on some file systems.
        const auto space = to_.statfs();
        here_only = space && space->f_bavail > kChunk / std::max<std::uint64_t>(space->f_bsize, 1);
    }
    if (!here_only) return failed(Side::kNew, error);
    told.add(ProblemKind::kAttribute, attribute + " cannot be kept: " + words_of(error));
    return {};
}

}  // namespace extencfs::migrate
