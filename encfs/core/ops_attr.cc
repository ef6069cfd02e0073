// SPDX-License-Identifier: Apache-2.0
// Attributes: GETATTR and SETATTR, and the entry that a lookup or a creation gives.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

namespace {

// Whether a file that cannot be opened has attributes all the same: it is damaged as a whole, or
// not ours to read. Any other error may pass, and the kernel would keep a wrong size for ever.
bool size_stays_unknown(const Error& error) {
    return error.kind == ErrorKind::kDamaged || is_errno(error, EACCES) || is_errno(error, EPERM);
}

}  // namespace

// Makes of the lower attributes what the upper file system shows: sizes are plaintext sizes.
Result<void> Filesystem::complete(NodeId node, const Place& at, struct stat& attr) {
    if (S_ISLNK(attr.st_mode)) {
        auto size = format_->symlink_size(static_cast<std::uint64_t>(attr.st_size));
        if (!size) {
            auto target = lower_->readlink(at.dir->fd.get(), at.entry());
            if (!target) return fail(target.error());
            size = format_->symlink_size_at({at.dir->context, at.entry()}, *target);
        }
        attr.st_size = static_cast<off_t>(*size);
    }
    if (!S_ISREG(attr.st_mode)) return {};
    if (auto open = files_->find(node)) {
        attr.st_size = static_cast<off_t>(open->size());
        return {};
    }
    if (auto size = format_->size_from_stat(attr); size && !is_suspect(attr.st_ino)) {
        attr.st_size = static_cast<off_t>(*size);
        return {};
    }
    auto opened = file(node, OpenIntent::kRead);
    if (opened) {
        attr.st_size = static_cast<off_t>((*opened)->size());
        return {};
    }
    // With others at work below, another name of it may be gone; what is told then soon passes.
    const bool moved = opened.error().kind == ErrorKind::kStale ||
                       opened.error().kind == ErrorKind::kNotFound ||
                       is_errno(opened.error(), ENOENT);
    if (!size_stays_unknown(opened.error()) && !(options_.shared && moved))
        return std::unexpected(opened.error());
    // Its size must not be 0: nothing would be read, and damage would look like an empty file.
    attr.st_size = std::max<off_t>(attr.st_size, 1);
    return {};
}

Result<Entry> Filesystem::entry_of(const Place& at, const struct stat& lower_stat, Token token,
                                   const Change* within) {
    if (lower_stat.st_dev != lower_dev_) return fail(ErrorKind::kCrossesMount);
    Entry entry{.attr = lower_stat};
    entry.node = table_->acquire(at.location, lower_stat.st_ino, lower_stat.st_mode);
    if (entry.node == 0) return fail(ErrorKind::kStale);
    if (auto r = complete(entry.node, at, entry.attr); !r) {
        give_back(entry.node, 1);
        return std::unexpected(r.error());
    }
    sink_->publish_attr(entry.node, entry.attr, token, within);
    return entry;
}

void Filesystem::publish_change(NodeId node, const Change* within) {
    if (!sink_->listens()) return;
    const auto token = sink_->token();
    auto is = view(node);
    if (!is) return;
    if (node == kRootNode) is->location.emplace();
    if (auto attr = attr_of(*is)) sink_->publish_attr(node, *attr, token, within);
}

void Filesystem::publish_directory(const Place& at, const Change* within) {
    if (!sink_->listens()) return;
    const auto token = sink_->token();
    // One that is removed is told as it was then, whatever a descriptor of it says. It cannot go
    // now: its names are locked.
    const auto known = table_->view(at.location.parent);
    if (!known || known->gone) return;
    auto is = lower_->stat(at.dir->fd.get());
    if (is) sink_->publish_attr(at.location.parent, *is, token, within);
}

Result<struct stat> Filesystem::attr_of(const NodeView& node) {
    if (S_ISREG(node.type)) {
        if (auto open = files_->find(node.id)) {
            auto is = lower_->stat(open->fd());
            if (!is) return fail(is.error());
            is->st_size = static_cast<off_t>(open->size());
            return *is;
        }
    }
    if (node.gone || !node.location) {
        if (S_ISREG(node.type)) {
            auto opened = file(node.id, OpenIntent::kRead);
            if (opened) return attr_of(node);
            // kStale: the lower file could not be opened when its name went.
            if (!size_stays_unknown(opened.error()) && opened.error().kind != ErrorKind::kStale)
                return std::unexpected(opened.error());
        }
        std::lock_guard lock(nameless_mutex_);
        auto it = nameless_.find(node.id);
        if (it == nameless_.end()) return fail(ErrorKind::kStale);
        return it->second.attr;
    }
    if (node.id == kRootNode || S_ISDIR(node.type)) {
        if (auto open = node.id == kRootNode ? root_ : dirs_->find(node.id)) {
            auto is = lower_->stat(open->fd.get());
            if (!is) return fail(is.error());
            return *is;
        }
    }
    auto at = place_of(node);
    if (!at) return std::unexpected(at.error());
    auto is = lower_->stat_at(at->dir->fd.get(), at->entry());
    if (!is) return fail(is.error());
    if (is->st_ino != node.ino) return fail(ErrorKind::kStale);
    if (auto r = complete(node.id, *at, *is); !r) return std::unexpected(r.error());
    return *is;
}

Result<struct stat> Filesystem::getattr(NodeId node) {
    const auto still = still_paths();
    // Somebody may rename it again and again.
    constexpr int kMostAttempts = 50;
    for (int attempt = 0;; ++attempt) {
        const auto token = sink_->token();  // before the look at the table, which is one too
        auto is = view(node);
        if (!is) return std::unexpected(is.error());
        if (node == kRootNode) is->location.emplace();
        auto attr = attr_of(*is);
        if (attr) {
            // What has no name and no descriptor is told as it was when it lost them.
            if (!is->gone || S_ISREG(is->type)) sink_->publish_attr(node, *attr, token, nullptr);
            return attr;
        }
        // The name may have changed between the look at the table and the lower call.
        const bool moved = attr.error().kind == ErrorKind::kStale ||
                           is_errno(attr.error(), ENOENT) ||
                           (S_ISLNK(is->type) && is_errno(attr.error(), EINVAL));
        if (!moved || attempt == kMostAttempts) return attr;
        std::this_thread::yield();
    }
}

Result<void> Filesystem::change_size(const NodeView& node, std::uint64_t size) {
    auto opened = file(node.id, OpenIntent::kWrite);
    if (!opened && opened.error().kind == ErrorKind::kDamaged && size == 0 && node.location) {
        // The size that the kernel believes in was wrong: it looks the name up again, and comes
        // back.
        auto now = view(node.id);
        if (!now || now->distrusted) return fail(ErrorKind::kStale);
        // Nothing of it can be read, and nothing of it is to be kept: a new beginning.
        auto at = place_of(node);
        if (!at) return std::unexpected(at.error());
        auto fd = open_lower_file(node, OpenIntent::kWrite);
        if (!fd) return std::unexpected(fd.error());
        auto is = lower_->stat(fd->get());
        if (!is) return fail(is.error());
        if (is->st_ino != node.ino) return fail(ErrorKind::kStale);
        if (auto r = lower_->truncate(fd->get(), 0); !r) return fail(r.error());
        const FilePlace lies{at->dir->context, at->entry()};
        auto fresh = format_->create_content(*lower_, std::move(*fd), &lies);
        if (!fresh) return std::unexpected(fresh.error());
        files_->insert(node.id, std::move(*fresh));
        return {};
    }
    if (!opened) return std::unexpected(opened.error());
    if ((*opened)->size() != size) return (*opened)->truncate(size);
    // Nothing changes but the times (truncate(2)).
    const struct timespec now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
    if (auto r = lower_->utimens((*opened)->fd(), now); !r) return fail(r.error());
    return {};
}

Result<void> Filesystem::change_owner_mode_times(const NodeView& node, const AttrChange& change) {
    File open_file = S_ISREG(node.type) ? files_->find(node.id) : nullptr;
    if (!open_file && S_ISREG(node.type) && !node.location) {
        auto opened = file(node.id, OpenIntent::kWrite);
        if (!opened) return std::unexpected(opened.error());
        open_file = std::move(*opened);
    }
    int fd = open_file ? open_file->fd() : -1;
    Dir own;
    if (S_ISDIR(node.type)) {
        // By its own descriptor: a name may be another directory's by now.
        auto opened = directory(node.id);
        if (!opened) return std::unexpected(opened.error());
        own = *opened;
        if (!own->by_path_only) fd = own->fd.get();
    }
    Place at;
    std::shared_lock<std::shared_mutex> names;
    if (fd < 0) {
        auto found = place_of(node);
        if (!found) return std::unexpected(found.error());
        at = std::move(*found);
        // By name, while it is held: it may have become another file's.
        names = std::shared_lock(namespace_lock(at.location.parent));
        if (!table_->is_at(node.id, at.location)) return fail(ErrorKind::kStale);
    }
    auto done = [](lower::Result<void> r) -> Result<void> {
        if (!r) return fail(r.error());
        return {};
    };
    std::unique_lock<std::mutex> steady;
    if (change.uid_set || change.gid_set || change.mode_set) steady = rotation_.steady_mode();
    if (change.uid_set || change.gid_set) {
        const uid_t uid = change.uid_set ? change.uid : static_cast<uid_t>(-1);
        const gid_t gid = change.gid_set ? change.gid : static_cast<gid_t>(-1);
        auto r = done(fd >= 0 ? lower_->chown(fd, uid, gid)
                              : lower_->chown_at(at.dir->fd.get(), at.entry(), uid, gid));
        if (!r) return r;
    }
    if (change.mode_set) {
        const mode_t mode = change.mode & 07777;
        auto r = done(fd >= 0 ? lower_->chmod(fd, mode)
                              : lower_->chmod_at(at.dir->fd.get(), at.entry(), mode));
        if (!r) return r;
    }
    if (steady) steady.unlock();
    if (change.atime_set || change.mtime_set) {
        const struct timespec omit { 0, UTIME_OMIT };
        const struct timespec times[2] = {change.atime_set ? change.atime : omit,
                                          change.mtime_set ? change.mtime : omit};
        // Nothing may be written below after the times that the caller wants.
        if (open_file) {
            if (auto r = open_file->settle(); !r) return r;
        }
        auto& clock = time_stripe(node.id);
        std::lock_guard lock(clock.mutex);
        ++clock.changes;
        return done(fd >= 0 ? lower_->utimens(fd, times)
                            : lower_->utimens_at(at.dir->fd.get(), at.entry(), times));
    }
    return {};
}

Result<void> Filesystem::clear_suid(int fd, const KillPrivilege& kill) {
    if (!kill.wanted) return {};
    const auto steady = rotation_.steady_mode();
    auto is = lower_->stat(fd);
    if (!is) return fail(is.error());
    mode_t mode = is->st_mode & 07777;
    mode_t cleared = mode & ~static_cast<mode_t>(S_ISUID);
    // Without group execution set-group-ID stays for members of the group.
    if ((mode & S_ISGID) && ((mode & S_IXGRP) || !kill.caller_is_in(is->st_gid)))
        cleared &= ~static_cast<mode_t>(S_ISGID);
    if (cleared == mode) return {};
    if (auto r = lower_->chmod(fd, cleared); !r) return fail(r.error());
    return {};
}

Result<struct stat> Filesystem::setattr(NodeId node, const AttrChange& change) {
    const auto still = still_paths();
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    auto is = view(node);
    if (!is) return std::unexpected(is.error());
    if (node == kRootNode) is->location.emplace();
    Change changed{.inodes = {is->ino}};
    changed.xattrs = change.mode_set || change.uid_set || change.gid_set;
    ChangeScope scope(*sink_, changed);
    if (change.size_set) {
        if (!S_ISREG(is->type))
            return fail(S_ISDIR(is->type) ? ErrorKind::kIsDirectory : ErrorKind::kInvalid);
        if (auto r = change_size(*is, change.size); !r) return std::unexpected(r.error());
        if (change.kill.wanted) {
            auto opened = file(node, OpenIntent::kWrite);
            if (!opened) return std::unexpected(opened.error());
            if (auto r = clear_suid((*opened)->fd(), change.kill); !r)
                return std::unexpected(r.error());
        }
    }
    if (change.uid_set || change.gid_set || change.mode_set || change.atime_set ||
        change.mtime_set) {
        auto r = change_owner_mode_times(*is, change);
        if (!r && (r.error().kind == ErrorKind::kStale || is_errno(r.error(), ENOENT))) {
            is = view(node);  // renamed meanwhile
            if (!is) return std::unexpected(is.error());
            r = change_owner_mode_times(*is, change);
        }
        if (!r) return std::unexpected(r.error());
    }
    const auto token = sink_->token();
    auto attr = attr_of(*is);
    if (attr) sink_->publish_attr(node, *attr, token, scope.change());
    return attr;
}

}  // namespace extencfs::core
