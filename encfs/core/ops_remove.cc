// SPDX-License-Identifier: Apache-2.0
// Removing and moving names.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

#include "encfs/core/namespace_guard.h"
#include "encfs/core/path_changes.h"

namespace extencfs::core {

// A node whose last known name goes stays readable and writable for whoever has it open.
Result<bool> Filesystem::pin(NodeId node, const Place& at, const struct stat& lower_stat) {
    if (node == 0) return false;
    const bool last_link = S_ISDIR(lower_stat.st_mode) || lower_stat.st_nlink <= 1;
    if (!last_link && table_->location_count(node) > 1) return false;
    Nameless nameless{.fd = {}, .attr = lower_stat, .file = nullptr};
    nameless.attr.st_nlink = last_link ? 0 : lower_stat.st_nlink - 1;
    if (S_ISREG(lower_stat.st_mode)) {
        nameless.file = files_->find(node);
        if (!nameless.file) {
            const int flags = options_.read_only ? O_RDONLY : O_RDWR;
            auto fd = lower_->open(at.dir->fd.get(), at.entry(), flags, 0);
            if (!fd && fd.error().value == EACCES) {
                auto lifted = open_with_mode_lifted(at.dir, at.entry(), flags);
                if (lifted) nameless.fd = std::move(*lifted);
            } else if (!fd) {
                return fail(fd.error());
            } else {
                nameless.fd = std::move(*fd);
            }
        }
    }
    std::lock_guard lock(nameless_mutex_);
    return nameless_.try_emplace(node, std::move(nameless)).second;
}

void Filesystem::unpin(NodeId node, bool pinned) {
    if (!pinned) return;
    std::lock_guard lock(nameless_mutex_);
    nameless_.erase(node);
}

std::string Filesystem::long_symlink_target(const Place& at, const struct stat& lower_stat) {
    if (!S_ISLNK(lower_stat.st_mode) || lower_stat.st_nlink > 1 ||
        format_->symlink_size(static_cast<std::uint64_t>(lower_stat.st_size)))
        return {};
    auto target = lower_->readlink(at.dir->fd.get(), at.entry());
    return target ? std::move(*target) : std::string();
}

Result<void> Filesystem::unlink(NodeId parent, std::string_view name) {
    const auto still = still_paths();
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    auto at = place(parent, name);
    if (!at) return std::unexpected(at.error());
    NamespaceGuard names(*this, {parent});
    const int dirfd = at->dir->fd.get();
    auto is = lower_->stat_at(dirfd, at->entry());
    if (!is) return fail(is.error());
    if (S_ISDIR(is->st_mode)) return fail(ErrorKind::kIsDirectory);
    ChangeScope scope(*sink_, {.inodes = {is->st_ino, at->dir->ino}, .names = {{{parent, name}}}});
    const NodeId node = table_->find(is->st_ino);
    const std::string text = long_symlink_target(*at, *is);
    const auto pinned = pin(node, *at, *is);
    if (!pinned) return std::unexpected(pinned.error());
    if (auto r = lower_->unlink(dirfd, at->entry()); !r) {
        unpin(node, *pinned);
        return fail(r.error());
    }
    if (node != 0) table_->remove_location(node, at->location, is->st_nlink <= 1);
    remove_side_file(*at);
    if (!text.empty()) format_->drop_symlink(*lower_, root_->fd.get(), text);
    // Not the attributes of what lost a name: the kernel counts that link down by itself, after the
    // reply, from whatever it was told.
    sink_->publish_entry({parent, name}, 0, sink_->token(), scope.change());
    publish_directory(*at, scope.change());
    return {};
}

Result<lower::Fd> Filesystem::open_for_change(const Place& at) {
    const int flags = O_RDONLY | O_DIRECTORY;
    auto fd = lower_->open(at.dir->fd.get(), at.entry(), flags, 0);
    if (fd) return std::move(*fd);
    // An ordinary user's own directory that its mode closes to him may be removed and moved.
    if (fd.error().value != EACCES) return fail(fd.error());
    return open_with_mode_lifted(at.dir, at.entry(), flags);
}

Result<void> Filesystem::clear_directory(const Place& at, NodeId node,
                                         std::optional<DirContext>& was) {
    auto fd = open_for_change(at);
    if (!fd) return std::unexpected(fd.error());
    if (const auto known = table_->view(node)) was = known->context;
    if (!was) {
        std::vector<std::string> unsynced;
        auto context =
            format_->open_directory(*lower_, fd->get(), at.dir->context, at.entry(), unsynced);
        if (context)
            was = *context;
        else if (context.error().kind != ErrorKind::kDamaged)
            return std::unexpected(context.error());
    }
    auto cleared = format_->clear_directory(*lower_, fd->get());
    if (!cleared && cleared.error().kind != ErrorKind::kNotEmpty) restore_directory(at, node, was);
    return cleared;
}

void Filesystem::restore_directory(const Place& at, NodeId node,
                                   const std::optional<DirContext>& was) {
    auto fd = open_for_change(at);
    if (fd && was) {
        // With the id that it had: its attributes are bound to that.
        std::vector<std::string> unsynced;
        auto restored = format_->restore_directory(*lower_, fd->get(), at.dir->context, at.entry(),
                                                   *was, unsynced);
        if (restored && node != 0) return note_unsynced(node, std::move(unsynced));
        if (restored) {
            std::lock_guard lock(unsynced_mutex_);
            ++lost_count_;  // no node to keep it by
            return;
        }
    }
    // Failing leaves an empty directory without an id, which is made good at its next use.
    if (node == 0) return;
    table_->forget_context(node);
    dirs_->remove(node);
}

Result<void> Filesystem::rmdir(NodeId parent, std::string_view name) {
    const auto still = still_paths();
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    auto at = place(parent, name);
    if (!at) return std::unexpected(at.error());
    const int dirfd = at->dir->fd.get();
    auto is = lower_->stat_at(dirfd, at->entry());
    if (!is) return fail(is.error());
    if (!S_ISDIR(is->st_mode)) return fail(ErrorKind::kNotDirectory);
    const NodeId victim = table_->find(is->st_ino);
    // While we hold it open, nobody opens it anew: without its id file it would get another one.
    const auto held = victim != 0 ? directory(victim) : Result<Dir>{};
    // Nobody may create anything in it between the look and the removal.
    NamespaceGuard names(*this, {parent, victim != 0 ? victim : parent});
    is = lower_->stat_at(dirfd, at->entry());
    if (!is) return fail(is.error());
    // Another one lies there by now, whose lock is not held.
    if (!S_ISDIR(is->st_mode)) return fail(ErrorKind::kNotDirectory);
    if (table_->find(is->st_ino) != victim) return fail(ErrorKind::kStale);
    ChangeScope scope(*sink_, {.inodes = {is->st_ino, at->dir->ino}, .names = {{{parent, name}}}});
    const auto pinned = pin(victim, *at, *is);
    if (!pinned) return std::unexpected(pinned.error());
    const std::lock_guard id_file(id_lock(is->st_ino));
    std::optional<DirContext> was;
    if (auto r = clear_directory(*at, victim, was); !r) {
        unpin(victim, *pinned);
        return r;
    }
    if (auto r = lower_->rmdir(dirfd, at->entry()); !r) {
        restore_directory(*at, victim, was);
        unpin(victim, *pinned);
        return fail(r.error());
    }
    if (victim != 0) {
        table_->remove_location(victim, at->location, true);
        dirs_->remove(victim);
    }
    remove_side_file(*at);
    sink_->publish_entry({parent, name}, 0, sink_->token(), scope.change());
    publish_directory(*at, scope.change());
    return {};
}

Result<void> Filesystem::prepare_directory_move(const Place& from, const Place& to, NodeId node) {
    auto fd = open_for_change(from);
    if (!fd) return std::unexpected(fd.error());
    auto known = table_->view(node);
    if (!known || !known->context) {
        // An id file that a killed mkdir left out is made good before the directory moves.
        std::vector<std::string> unsynced;
        std::unique_lock<std::mutex> id_file;
        if (known) id_file = std::unique_lock(id_lock(known->ino));
        auto context =
            format_->open_directory(*lower_, fd->get(), from.dir->context, from.entry(), unsynced);
        if (id_file) id_file.unlock();
        if (!context) return std::unexpected(context.error());
        if (known) table_->set_context(node, *context);
        if (known && !unsynced.empty()) note_unsynced(node, std::move(unsynced));
    }
    auto prepared = format_->before_directory_rename(*lower_, fd->get(), from.dir->context,
                                                     from.entry(), to.dir->context, to.entry());
    if (!prepared) return prepared;
    renamed_.add(to.location, to.dir->ino);
    return {};
}

Result<void> Filesystem::rename_locked(const Place& from, const Place& to, lower::RenameMode mode) {
    const int from_fd = from.dir->fd.get();
    const int to_fd = to.dir->fd.get();
    auto source = lower_->stat_at(from_fd, from.entry());
    if (!source) return fail(source.error());
    auto target = lower_->stat_at(to_fd, to.entry());
    if (!target && target.error().value != ENOENT) return fail(target.error());
    const bool exchange = mode == lower::RenameMode::kExchange;
    if (exchange && !target) return fail(ErrorKind::kNotFound);
    // Whether it took place could not be seen afterwards.
    if (exchange && (binding_.files ||
                     (binding_.names && (S_ISDIR(source->st_mode) || S_ISDIR(target->st_mode)))))
        return fail(ErrorKind::kInvalid);
    if (mode == lower::RenameMode::kNoReplace && target) return fail(ErrorKind::kExists);
    if (target && target->st_ino == source->st_ino) return {};  // two names of one file: no change

    const NodeId node = table_->find(source->st_ino);
    const NodeId other = target ? table_->find(target->st_ino) : 0;
    const bool source_dir = S_ISDIR(source->st_mode);
    const bool target_dir = target && S_ISDIR(target->st_mode);
    std::string text;
    if (target && !exchange) {
        if (source_dir && !target_dir) return fail(ErrorKind::kNotDirectory);
        if (!source_dir && target_dir) return fail(ErrorKind::kIsDirectory);
        text = long_symlink_target(to, *target);
    }
    if (source_dir) {
        if (auto r = prepare_directory_move(from, to, node); !r) return r;
    }
    if (exchange && target_dir) {
        if (auto r = prepare_directory_move(to, from, other); !r) return r;
    }
    if (auto r = write_durable_side_file(to); !r) return r;
    if (exchange) {
        if (auto r = write_durable_side_file(from); !r) return r;
    }
    bool pinned = false;
    if (target && !exchange) {
        auto kept = pin(other, to, *target);
        if (!kept) return std::unexpected(kept.error());
        pinned = *kept;
    }
    // What goes before the rename itself must be possible to undo, and comes last.
    std::unique_lock<std::mutex> id_file;
    std::optional<DirContext> was;
    if (target_dir && !exchange) {
        id_file = std::unique_lock(id_lock(target->st_ino));
        if (auto r = clear_directory(to, other, was); !r) {
            unpin(other, pinned);
            return r;
        }
    }
    auto not_renamed = [&](Error error) -> Result<void> {
        if (target_dir && !exchange) restore_directory(to, other, was);
        unpin(other, pinned);
        return std::unexpected(error);
    };
    std::unique_ptr<PathMove> move;
    PathChanges changes(*this);
    if ((binding_.names && source_dir) || (binding_.files && !S_ISLNK(source->st_mode))) {
        auto begun = begin_move(from, to, *source, changes);
        if (!begun) return not_renamed(begun.error());
        move = std::move(*begun);
    }
    if (auto r = lower_->rename(from_fd, from.entry(), to_fd, to.entry(), mode); !r) {
        move.reset();
        return not_renamed(Error{ErrorKind::kLower, r.error().value});
    }
    if (move) move->finish();
    if (exchange) {
        if (node != 0) table_->move(node, from.location, to.location);
        if (other != 0) table_->move(other, to.location, from.location);
        return {};
    }
    if (other != 0) {
        table_->remove_location(other, to.location, target_dir || target->st_nlink <= 1);
        if (target_dir) dirs_->remove(other);
    }
    if (node != 0) table_->move(node, from.location, to.location);
    remove_side_file(from);
    if (!text.empty()) format_->drop_symlink(*lower_, root_->fd.get(), text);
    return {};
}

void Filesystem::publish_place(const Place& at, std::string_view name, const Change* within) {
    const auto token = sink_->token();
    auto is = lower_->stat_at(at.dir->fd.get(), at.entry());
    if (!is && is.error().value != ENOENT) return;
    NodeId node = 0;
    if (is) {
        node = table_->find(is->st_ino);
        if (node == 0) node = MetadataSink::kUnknownNode;
    }
    sink_->publish_entry({at.location.parent, name}, node, token, within);
    if (is && node != MetadataSink::kUnknownNode) {
        if (complete(node, at, *is)) sink_->publish_attr(node, *is, token, within);
    }
    publish_directory(at, within);
}

Result<void> Filesystem::rename(NodeId from_parent, std::string_view from, NodeId to_parent,
                                std::string_view to, lower::RenameMode mode) {
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    const auto entered = binding_.any() ? OperationGate::Entered() : still_paths();
    std::unique_lock moving(paths_, std::defer_lock);
    if (binding_.any()) moving.lock();
    auto from_at = place(from_parent, from);
    if (!from_at) return std::unexpected(from_at.error());
    auto to_at = place(to_parent, to);
    if (!to_at) return std::unexpected(to_at.error());
    if (from_parent != to_parent) {
        if (auto r = sync_way_to(to_parent); !r) return r;
        if (mode == lower::RenameMode::kExchange) {
            if (auto r = sync_way_to(from_parent); !r) return r;
        }
    }
    // An empty directory that is replaced must stay empty: nobody may create anything in it.
    NodeId replaced = to_parent;
    bool directories = false;
    if (auto is = lower_->stat_at(to_at->dir->fd.get(), to_at->entry()); is) {
        if (S_ISDIR(is->st_mode)) {
            directories = true;
            if (NodeId known = table_->find(is->st_ino)) replaced = known;
        }
    }
    // As in rmdir.
    const auto held = replaced != to_parent ? directory(replaced) : Result<Dir>{};
    auto renamed = [&]() -> Result<void> {
        NamespaceGuard names(*this, {from_parent, to_parent, replaced});
        auto is = lower_->stat_at(from_at->dir->fd.get(), from_at->entry());
        if (!is) return fail(is.error());
        directories = directories || S_ISDIR(is->st_mode);
        const std::uint64_t moved = is->st_ino;
        is = lower_->stat_at(to_at->dir->fd.get(), to_at->entry());
        if (is && S_ISDIR(is->st_mode)) {
            directories = true;
            const NodeId known = table_->find(is->st_ino);
            if (known != 0 && known != replaced) return fail(ErrorKind::kStale);
        }
        std::unique_lock tree(tree_lock_, std::defer_lock);
        if (directories) tree.lock();
        ChangeScope scope(
            *sink_, {.inodes = {moved, is ? is->st_ino : 0, from_at->dir->ino, to_at->dir->ino},
                     .names = {{{from_parent, from}, {to_parent, to}}}});
        auto done = rename_locked(*from_at, *to_at, mode);
        if (!done) remove_unused_side_file(*to_at);
        if (done) {
            note_moved(*to_at);
            if (mode == lower::RenameMode::kExchange) note_moved(*from_at);
        }
        if (directories) tree.unlock();
        if (sink_->listens()) {
            publish_place(*from_at, from, scope.change());
            publish_place(*to_at, to, scope.change());
        }
        return done;
    }();
    if (directories) bound_renames();
    return renamed;
}

}  // namespace extencfs::core
