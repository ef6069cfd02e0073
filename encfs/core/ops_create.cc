// SPDX-License-Identifier: Apache-2.0
// Making things: every one appears under its name complete, or not at all.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "crypto/encoding.h"
#include "crypto/random.h"
#include "encfs/core/filesystem.h"
#include "encfs/core/namespace_guard.h"
#include "encfs/volume/format.h"

namespace extencfs::core {

namespace {

// "extencfs.t.<random>": swept at the next mount if it is left behind.
Result<std::string> temp_name() {
    ByteArray<12> random;
    if (!crypto::fill_random(random)) return fail(ErrorKind::kInternal);
    return volume::kTempPrefix + crypto::base64url_encode(random);
}

bool tmpfile_unsupported(int error) {
    return error == EOPNOTSUPP || error == EISDIR || error == EINVAL;
}

}  // namespace

// ---- long names ----

Result<void> Filesystem::write_side_file(const Place& at) {
    if (at.name.side_name.empty()) return {};
    const int dirfd = at.dir->fd.get();
    auto fd = lower_->open(dirfd, at.name.side_name, O_CREAT | O_WRONLY, 0644);
    if (!fd) return fail(fd.error());
    // The bytes follow from the name alone: writing them again changes nothing.
    if (auto r = lower_->pwrite(fd->get(), at.name.side_bytes, 0); !r) return fail(r.error());
    note_unsynced(at.location.parent, {at.name.side_name});
    return {};
}

Result<void> Filesystem::write_durable_side_file(const Place& at) {
    if (at.name.side_name.empty()) return {};
    if (auto r = write_side_file(at); !r) return r;
    auto fd = lower_->open(at.dir->fd.get(), at.name.side_name, O_RDONLY, 0);
    if (!fd) return fail(fd.error());
    if (auto r = lower_->fdatasync(fd->get()); !r) return fail(r.error());
    return {};
}

void Filesystem::remove_side_file(const Place& at) {
    // A side file without its entry is hidden, and used again or swept later.
    if (!at.name.side_name.empty()) (void)lower_->unlink(at.dir->fd.get(), at.name.side_name);
}

void Filesystem::remove_unused_side_file(const Place& at) {
    if (at.name.side_name.empty()) return;
    auto is = lower_->stat_at(at.dir->fd.get(), at.entry());
    if (!is && is.error().value == ENOENT) remove_side_file(at);
}

// ---- owner and mode ----

mode_t Filesystem::mode_for(const Dir& dir, mode_t mode, const Caller& caller) {
    using DefaultAcl = DirHandle::DefaultAcl;
    auto known = dir->default_acl.load(std::memory_order_relaxed);
    if (known == DefaultAcl::kUnknown) {
        auto acl = lower_->get_xattr(dir->fd.get(), "system.posix_acl_default");
        known = acl && !acl->empty() ? DefaultAcl::kYes : DefaultAcl::kNo;
        dir->default_acl.store(known, std::memory_order_relaxed);
    }
    // acl(5): with a default ACL the umask has no effect; the lower file system applies the ACL.
    return known == DefaultAcl::kYes ? mode : mode & ~caller.umask;
}

std::optional<Filesystem::Owner> Filesystem::owner_for(const Dir& dir, const Caller& caller) {
    if (!privileged_ || (caller.uid == 0 && caller.gid == 0)) return std::nullopt;
    auto is = lower_->stat(dir->fd.get());
    const bool inherits = is && (is->st_mode & S_ISGID) != 0;
    return Owner{caller.uid, inherits ? static_cast<gid_t>(-1) : caller.gid};
}

// ---- regular files ----

Result<lower::Fd> Filesystem::open_unnamed(const Dir& dir, mode_t mode, std::string& temp) {
    if (!no_tmpfiles_.load(std::memory_order_relaxed)) {
        auto fd = lower_->open_tmpfile(dir->fd.get(), mode);
        if (fd) return std::move(*fd);
        if (!tmpfile_unsupported(fd.error().value)) return fail(fd.error());
        no_tmpfiles_ = true;
    }
    auto name = temp_name();
    if (!name) return std::unexpected(name.error());
    temp = std::move(*name);
    auto fd = lower_->open(dir->fd.get(), temp, O_CREAT | O_EXCL | O_RDWR, mode);
    if (!fd) return fail(fd.error());
    return std::move(*fd);
}

Result<std::pair<Filesystem::File, struct stat>> Filesystem::make_file(
    const Dir& dir, std::string_view entry, mode_t mode, const Caller& caller, std::string& temp) {
    const mode_t bits = mode_for(dir, mode & 07777, caller);
    auto fd = open_unnamed(dir, bits, temp);
    if (!fd) return std::unexpected(fd.error());
    const int raw = fd->get();
    if (auto owner = owner_for(dir, caller)) {
        if (auto r = lower_->chown(raw, owner->uid, owner->gid); !r) return fail(r.error());
        if (bits & (S_ISUID | S_ISGID)) {  // chown took them away
            if (auto r = lower_->chmod(raw, bits); !r) return fail(r.error());
        }
    }
    const FilePlace lies{dir->context, entry};
    auto content =
        format_->create_content(*lower_, std::move(*fd), entry.empty() ? nullptr : &lies);
    if (!content) return std::unexpected(content.error());
    auto is = lower_->stat(raw);
    if (!is) return fail(is.error());
    is->st_size = 0;
    return std::pair{std::move(*content), *is};
}

Result<Entry> Filesystem::create_file(const Place& at, mode_t mode, const Caller& caller) {
    std::string temp;
    auto made = make_file(at.dir, at.entry(), mode, caller, temp);
    auto abandon = [&](Error error) -> Result<Entry> {
        if (!temp.empty()) (void)lower_->unlink(at.dir->fd.get(), temp);
        return std::unexpected(error);
    };
    if (!made) return abandon(made.error());
    auto& [content, is] = *made;
    // While nobody can come by it.
    const auto nameless_token = sink_->token();
    const bool bare = sink_->listens() && seen_bare(lower_->list_xattr(content->fd()));
    auto named = temp.empty() ? lower_->link_tmpfile(content->fd(), at.dir->fd.get(), at.entry())
                              : lower_->rename(at.dir->fd.get(), temp, at.dir->fd.get(), at.entry(),
                                               lower::RenameMode::kNoReplace);
    if (!named) return abandon(Error{ErrorKind::kLower, named.error().value});
    note_made(is.st_ino);
    is.st_nlink = 1;
    const auto token = sink_->token();
    bool exact = false;
    if (sink_->listens()) {  // the name moved its ctime
        auto now = lower_->stat(content->fd());
        exact = now.has_value();
        if (exact) is = *now;
        is.st_size = 0;
    }
    Entry entry{.attr = is};
    entry.node = table_->acquire(at.location, is.st_ino, is.st_mode);
    if (entry.node == 0) return fail(ErrorKind::kStale);
    files_->insert(entry.node, std::move(content));
    if (exact) sink_->publish_attr(entry.node, entry.attr, token, nullptr);
    if (bare)
        sink_->publish_xattr(entry.node, is.st_ino, MetadataSink::XattrFact::kNone, {},
                             nameless_token);
    return entry;
}

Result<Entry> Filesystem::entry_made(const Place& at, const Caller& caller) {
    const int dirfd = at.dir->fd.get();
    if (auto owner = owner_for(at.dir, caller)) {
        if (auto r = lower_->chown_at(dirfd, at.entry(), owner->uid, owner->gid); !r)
            return fail(r.error());
    }
    const auto token = sink_->token();
    auto is = lower_->stat_at(dirfd, at.entry());
    if (!is) return fail(is.error());
    note_made(is->st_ino);
    return entry_of(at, *is, token);
}

template <typename Make>
Result<Entry> Filesystem::make_name(NodeId parent, std::string_view name, std::uint64_t also,
                                    const Make& make) {
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    auto at = place(parent, name);
    if (!at) return std::unexpected(at.error());
    NamespaceGuard names(*this, {parent});
    ChangeScope scope(*sink_, {.inodes = {at->dir->ino, also}, .names = {{{parent, name}}}});
    auto wrote = write_side_file(*at);
    auto made = wrote ? make(*at) : std::unexpected(wrote.error());
    if (!made) remove_unused_side_file(*at);
    const auto token = sink_->token();
    if (made) sink_->publish_entry({parent, name}, made->node, token, scope.change());
    publish_directory(*at, scope.change());
    return made;
}

Result<Entry> Filesystem::create(NodeId parent, std::string_view name, mode_t mode,
                                 const Caller& caller) {
    return mknod(parent, name, S_IFREG | (mode & 07777), 0, caller);
}

Result<Entry> Filesystem::mknod(NodeId parent, std::string_view name, mode_t mode, dev_t rdev,
                                const Caller& caller) {
    const auto still = still_paths();
    return make_name(parent, name, 0, [&](const Place& at) -> Result<Entry> {
        if (S_ISREG(mode)) return create_file(at, mode, caller);
        const int dirfd = at.dir->fd.get();
        const mode_t bits = mode_for(at.dir, mode & 07777, caller);
        if (auto r = lower_->mknod(dirfd, at.entry(), (mode & S_IFMT) | bits, rdev); !r)
            return fail(r.error());
        auto made = entry_made(at, caller);
        if (!made) (void)lower_->unlink(dirfd, at.entry());
        return made;
    });
}

Result<Entry> Filesystem::tmpfile(NodeId parent, mode_t mode, const Caller& caller) {
    const auto still = still_paths();
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    // It could never be given a name.
    if (binding_.files) return fail(ErrorKind::kUnsupported);
    auto dir = directory(parent);
    if (!dir) return std::unexpected(dir.error());
    std::string temp;
    // Where the lower file system has no O_TMPFILE, a name comes and goes.
    ChangeScope scope(*sink_, {.inodes = {(*dir)->ino}});
    auto made = make_file(*dir, {}, mode, caller, temp);
    if (!temp.empty()) (void)lower_->unlink((*dir)->fd.get(), temp);
    if (!made) return std::unexpected(made.error());
    note_made(made->second.st_ino);
    Entry entry{.attr = made->second};
    entry.attr.st_nlink = 0;
    entry.node = table_->acquire_nameless(entry.attr.st_ino, entry.attr.st_mode);
    {
        // No lower descriptor to come back to: files without a name stay in use_count by this one.
        std::lock_guard lock(nameless_mutex_);
        nameless_[entry.node].attr = entry.attr;
        nameless_[entry.node].file = made->first;
    }
    files_->insert(entry.node, std::move(made->first));
    return entry;
}

// ---- directories, symlinks, links ----

Result<Entry> Filesystem::mkdir(NodeId parent, std::string_view name, mode_t mode,
                                const Caller& caller) {
    const auto still = still_paths();
    return make_name(parent, name, 0,
                     [&](const Place& at) { return make_directory(at, mode, caller); });
}

Result<Entry> Filesystem::make_directory(const Place& at, mode_t mode, const Caller& caller) {
    const int dirfd = at.dir->fd.get();
    const mode_t bits = mode_for(at.dir, mode & 01777, caller);
    // We must be able to write into it for a moment.
    const mode_t lifted = privileged_ ? bits : bits | S_IRWXU;
    if (auto r = lower_->mkdir(dirfd, at.entry(), lifted); !r) return fail(r.error());
    auto undo = [&](const Error& error) -> Result<Entry> {
        (void)lower_->rmdir(dirfd, at.entry());
        return std::unexpected(error);
    };
    auto fd = lower_->open(dirfd, at.entry(), O_RDONLY | O_DIRECTORY, 0);
    if (!fd) return undo(Error{ErrorKind::kLower, fd.error().value});
    auto undo_all = [&](const Error& error) {
        (void)format_->clear_directory(*lower_, fd->get());
        return undo(error);
    };
    auto undo_lower = [&](lower::Errno e) { return undo_all({ErrorKind::kLower, e.value}); };
    std::vector<std::string> unsynced;
    auto context =
        format_->create_directory(*lower_, fd->get(), at.dir->context, at.entry(), unsynced);
    if (!context) return undo_all(context.error());
    if (auto owner = owner_for(at.dir, caller)) {
        if (auto r = lower_->chown(fd->get(), owner->uid, owner->gid); !r)
            return undo_lower(r.error());
    }
    auto token = sink_->token();
    const bool bare = sink_->listens() && seen_bare(lower_->list_xattr(fd->get()));
    auto is = lower_->stat(fd->get());
    if (!is) return undo_lower(is.error());
    if (lifted != bits) {
        is->st_mode &= ~(S_IRWXU & ~bits);
        if (auto r = lower_->chmod(fd->get(), is->st_mode & 07777); !r)
            return undo_lower(r.error());
    }
    if (sink_->listens() && lifted != bits) {  // that moved its ctime
        token = sink_->token();
        is = lower_->stat(fd->get());
        if (!is) return undo_lower(is.error());
    }
    auto entry = entry_of(at, *is, token);
    if (!entry) return undo_all(entry.error());
    table_->set_context(entry->node, *context);
    note_unsynced(entry->node, std::move(unsynced));
    auto handle = std::make_shared<DirHandle>();
    handle->fd = std::move(*fd);
    handle->ino = is->st_ino;
    handle->context = *context;
    dirs_->insert(entry->node, std::move(handle));
    note_made(is->st_ino);
    sink_->directory_is_empty(entry->node, is->st_ino, token, nullptr);
    if (bare)
        sink_->publish_xattr(entry->node, is->st_ino, MetadataSink::XattrFact::kNone, {}, token);
    return entry;
}

Result<Entry> Filesystem::symlink(NodeId parent, std::string_view name, std::string_view target,
                                  const Caller& caller) {
    const auto still = still_paths();
    // A long target's text may need a directory of its own in the root.
    return make_name(parent, name, root_ino_, [&](const Place& at) -> Result<Entry> {
        const int dirfd = at.dir->fd.get();
        if (lower_->stat_at(dirfd, at.entry())) return fail(ErrorKind::kExists);
        auto lower_target = format_->encode_symlink(*lower_, root_->fd.get(), target);
        if (!lower_target) return std::unexpected(lower_target.error());
        auto abandon = [&](Error error) -> Result<Entry> {
            format_->drop_symlink(*lower_, root_->fd.get(), *lower_target);
            return std::unexpected(error);
        };
        if (auto r = lower_->symlink(*lower_target, dirfd, at.entry()); !r)
            return abandon(Error{ErrorKind::kLower, r.error().value});
        auto made = entry_made(at, caller);
        if (made) return made;
        (void)lower_->unlink(dirfd, at.entry());
        return abandon(made.error());
    });
}

Result<Entry> Filesystem::link(NodeId node, NodeId parent, std::string_view name) {
    const auto still = still_paths();
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    auto at = place(parent, name);
    if (!at) return std::unexpected(at.error());
    auto source = view(node);
    if (!source) return std::unexpected(source.error());
    if (binding_.files && S_ISREG(source->type)) return fail(ErrorKind::kPermission);
    const NodeId from_parent = source->location ? source->location->parent : parent;
    if (auto r = sync_way_to(parent); !r) return std::unexpected(r.error());
    NamespaceGuard names(*this, {parent, from_parent});
    ChangeScope scope(*sink_, {.inodes = {source->ino, at->dir->ino}, .names = {{{parent, name}}}});
    source = view(node);
    if (!source) return std::unexpected(source.error());
    auto wrote = write_durable_side_file(*at);
    auto made = wrote ? link_locked(*source, *at, scope.change()) : std::unexpected(wrote.error());
    if (!made) remove_unused_side_file(*at);
    if (made) note_moved(*at);
    const auto token = sink_->token();
    if (made) sink_->publish_entry({parent, name}, made->node, token, scope.change());
    publish_directory(*at, scope.change());
    return made;
}

Result<Entry> Filesystem::link_locked(const NodeView& source, const Place& at,
                                      const Change* within) {
    const int dirfd = at.dir->fd.get();
    if (source.location) {
        auto from = place_of(source);
        if (!from) return std::unexpected(from.error());
        if (auto r = lower_->link(from->dir->fd.get(), from->entry(), dirfd, at.entry()); !r)
            return fail(r.error());
    } else if (!S_ISREG(source.type)) {
        return fail(ErrorKind::kStale);  // another one has its names, by a rotation of keys
    } else {
        auto open = file(source.id, OpenIntent::kWrite);
        if (!open) return std::unexpected(open.error());
        if (auto r = lower_->link_tmpfile((*open)->fd(), dirfd, at.entry()); !r)
            return fail(r.error());
    }
    table_->add_location(source.id, at.location);
    const auto token = sink_->token();
    auto is = lower_->stat_at(dirfd, at.entry());
    auto entry = !is                        ? fail(is.error())
                 : is->st_ino != source.ino ? fail(ErrorKind::kStale)  // its name was another's
                                            : entry_of(at, *is, token, within);
    if (!entry) {
        (void)lower_->unlink(dirfd, at.entry());
        table_->remove_location(source.id, at.location, source.gone);
        return entry;
    }
    std::lock_guard lock(nameless_mutex_);
    nameless_.erase(source.id);
    return entry;
}

}  // namespace extencfs::core
