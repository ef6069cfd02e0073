// SPDX-License-Identifier: Apache-2.0
// From nodes to lower descriptors, which are cached and bounded: the one gate through which every
// operation reaches the lower directory.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include "encfs/core/fd_path.h"
#include "encfs/core/filesystem.h"

namespace extencfs::core {

namespace {
constexpr int kAttempts = 8;
constexpr std::chrono::microseconds kRenamePause{50};

// Whether a lower call may have failed because the name was moved between a look at the table and
// the call, and something else (of another type) stands there now.
bool may_have_moved(const Error& error) {
    if (error.kind == ErrorKind::kStale) return true;
    for (int value : {ENOENT, ENOTDIR, EISDIR, ELOOP}) {
        if (is_errno(error, value)) return true;
    }
    return false;
}

}  // namespace

Result<NodeView> Filesystem::view(NodeId node) const {
    auto found = table_->view(node);
    if (!found) return fail(ErrorKind::kStale);
    return std::move(*found);
}

void Filesystem::report_damage(int fd, const std::string& what) {
    if (!options_.on_damage) return;
    const std::string path = path_below(root_->fd.get(), fd);
    DamageReport report{what, path, {}};
    if (options_.plain_names_in_reports) report.plain_name = plain_path(path);
    options_.on_damage(report);
}

std::string Filesystem::plain_path(const std::string& lower_path) {
    // Looking for the names may find the same damage again.
    static thread_local bool looking = false;
    if (looking) return {};
    looking = true;
    std::string plain;
    DirContext context = root_->context;
    lower::Fd own;
    int dirfd = root_->fd.get();
    for (std::size_t at = 0; at < lower_path.size();) {
        const std::size_t end = std::min(lower_path.find('/', at), lower_path.size());
        const std::string entry = lower_path.substr(at, end - at);
        auto name = format_->decode_name(*lower_, dirfd, context, entry);
        plain += (plain.empty() ? "" : "/") + (name ? *name : std::string("?"));
        at = end + 1;
        if (!name || at >= lower_path.size()) break;
        auto fd = lower_->open(dirfd, entry, O_RDONLY | O_DIRECTORY, 0);
        if (!fd) break;
        std::vector<std::string> unsynced;
        auto inner = format_->open_directory(*lower_, fd->get(), context, entry, unsynced);
        if (!inner) break;
        context = *inner;
        own = std::move(*fd);
        dirfd = own.get();
    }
    looking = false;
    return plain;
}

// ---- directories ----

Result<Filesystem::Dir> Filesystem::directory(NodeId node, Tree tree) {
    if (node == kRootNode) return root_;
    if (auto cached = dirs_->find(node)) return cached;
    auto is = view(node);
    if (!is) return std::unexpected(is.error());
    return open_directory(*is, tree);
}

Result<Filesystem::Dir> Filesystem::open_directory(const NodeView& node, Tree tree) {
    if (!S_ISDIR(node.type)) return fail(ErrorKind::kNotDirectory);
    const bool settled = tree == Tree::kHeld || node.context;
    auto opened = settled ? open_child(node, tree) : open_still(node);
    if (!opened && tree == Tree::kFree && may_have_moved(opened.error())) {
        // A rename may have been under way: once more, with the tree held still.
        std::shared_lock held(tree_lock_);
        auto again = view(node.id);
        if (!again) return std::unexpected(again.error());
        opened = open_child(*again, Tree::kHeld);
    }
    if (!opened) return opened;
    return dirs_->insert(node.id, std::move(*opened));
}

// An id file knows two places: two renames between the look at the table and the look at it would
// make a sound directory look misplaced.
Result<Filesystem::Dir> Filesystem::open_still(const NodeView& node) {
    // First, as it may have to be opened likewise.
    if (node.location) {
        if (auto parent = directory(node.location->parent); !parent) return parent;
    }
    std::shared_lock held(tree_lock_);
    auto again = view(node.id);
    if (!again) return std::unexpected(again.error());
    return open_child(*again, Tree::kHeld);
}

Result<Filesystem::Dir> Filesystem::open_child(const NodeView& node, Tree tree) {
    if (node.gone || !node.location) return fail(ErrorKind::kNotFound);
    auto parent = directory(node.location->parent, tree);
    if (!parent) return parent;
    const auto& entry = node.location->entry;
    auto fd = lower_->open((*parent)->fd.get(), entry, O_RDONLY | O_DIRECTORY, 0);
    const bool unreadable = !fd && fd.error().value == EACCES;
    if (unreadable) fd = lower_->open((*parent)->fd.get(), entry, O_PATH | O_DIRECTORY, 0);
    if (!fd) return fail(fd.error());
    auto is = lower_->stat(fd->get());
    if (!is) return fail(is.error());
    if (is->st_dev != lower_dev_) return fail(ErrorKind::kCrossesMount);
    if (is->st_ino != node.ino) return fail(ErrorKind::kStale);
    auto handle = std::make_shared<DirHandle>();
    handle->ino = is->st_ino;
    handle->by_path_only = unreadable;
    if (node.context) {
        handle->context = *node.context;
    } else {
        std::vector<std::string> unsynced;
        auto context = [&] {
            const std::lock_guard id_file(id_lock(node.ino));
            return format_->open_directory(*lower_, fd->get(), (*parent)->context, entry, unsynced);
        }();
        if (!context) return std::unexpected(context.error());
        if (!unsynced.empty()) note_unsynced(node.id, std::move(unsynced));
        handle->context = *context;
        table_->set_context(node.id, *context);
    }
    handle->fd = std::move(*fd);
    return handle;
}

Result<Filesystem::Place> Filesystem::place(NodeId parent, std::string_view name) {
    auto dir = directory(parent);
    if (!dir) return std::unexpected(dir.error());
    auto cipher = format_->encode_name((*dir)->context, name);
    if (!cipher) return std::unexpected(cipher.error());
    Location location{parent, cipher->entry};
    return Place{std::move(*dir), std::move(location), std::move(*cipher)};
}

Result<Filesystem::Place> Filesystem::place_of(const NodeView& node) {
    if (!node.location) return fail(node.gone ? ErrorKind::kNotFound : ErrorKind::kStale);
    auto dir = directory(node.location->parent);
    if (!dir) return std::unexpected(dir.error());
    return Place{std::move(*dir), *node.location, CipherName{node.location->entry, {}, {}}};
}

// ---- regular files ----

Result<Filesystem::File> Filesystem::file(NodeId node, OpenIntent intent) {
    for (int attempt = 0;; ++attempt) {
        const bool upgrade = intent == OpenIntent::kWrite && any_read_only_file_;
        if (!upgrade) {
            if (auto cached = files_->find(node)) return cached;
        }
        {
            std::lock_guard opening(open_locks_[node % open_locks_.size()]);
            auto is = view(node);
            if (!is) return std::unexpected(is.error());
            if (auto cached = files_->find(node)) {
                if (upgrade) {
                    if (auto r = make_writable(*is, *cached); !r) return std::unexpected(r.error());
                }
                return cached;
            }
            auto opened = open_file_of(*is, intent);
            const bool moved = !opened && may_have_moved(opened.error());
            if (!moved || attempt == kAttempts) {
                if (!opened) return opened;
                if (!is->location) {
                    // Its descriptor is the only way to it: it stays while the node does.
                    std::lock_guard lock(nameless_mutex_);
                    if (auto it = nameless_.find(node); it != nameless_.end()) {
                        it->second.file = *opened;
                        it->second.fd.reset();
                    }
                }
                return files_->insert(node, std::move(*opened));
            }
        }
        // A rename is under way, between the lower call and the table. Not waited for by its locks:
        // the caller may hold one of them.
        std::this_thread::sleep_for(kRenamePause * (1 << attempt));
    }
}

Result<Filesystem::File> Filesystem::open_file_of(const NodeView& node, OpenIntent intent) {
    if (S_ISDIR(node.type)) return fail(ErrorKind::kIsDirectory);
    if (!S_ISREG(node.type)) return fail(ErrorKind::kInvalid);
    if (node.distrusted) return fail(ErrorKind::kDamaged);
    auto fd = open_lower_file(node, intent);
    if (!fd) return std::unexpected(fd.error());
    auto is = lower_->stat(fd->get());
    if (!is) return fail(is.error());
    if (node.location && is->st_ino != node.ino) return fail(ErrorKind::kStale);
    if (!S_ISREG(is->st_mode)) return fail(ErrorKind::kDamaged);
    const int raw_fd = fd->get();
    std::optional<FilePlace> place;
    if (binding_.files && node.location) {
        auto dir = directory(node.location->parent);
        if (!dir) return std::unexpected(dir.error());
        place = FilePlace{(*dir)->context, node.location->entry};
    }
    auto opened = format_->open_content(*lower_, std::move(*fd), *is, place ? &*place : nullptr);
    if (!opened) return opened;
    const auto told = format_->size_from_stat(*is);
    if (told && *told != (*opened)->size() && !is_suspect(is->st_ino)) {
        report_damage(
            raw_fd, "the lower file's size disagrees with its header (cut, grown, or half copied)");
        distrust(node);
        return fail(ErrorKind::kDamaged);
    }
    return opened;
}

void Filesystem::distrust(const NodeView& node) {
    {
        std::lock_guard lock(suspects_mutex_);
        suspects_.insert(node.ino);
        any_suspect_ = true;
    }
    // The kernel keeps the size that it was told for as long as it has the node (it may have
    // unwritten pages): a new node gets the header's.
    table_->distrust(node.id);
    if (!node.location || !on_entry_stale_) return;
    auto dir = directory(node.location->parent);
    if (!dir) return;
    auto name =
        format_->decode_name(*lower_, (*dir)->fd.get(), (*dir)->context, node.location->entry);
    if (name) on_entry_stale_(node.location->parent, *name);
}

bool Filesystem::is_suspect(std::uint64_t ino) {
    if (!any_suspect_) return false;
    std::lock_guard lock(suspects_mutex_);
    return suspects_.contains(ino);
}

Result<lower::Fd> Filesystem::open_lower_file(const NodeView& node, OpenIntent intent) {
    const bool read_only = options_.read_only;
    if (!node.location) {
        std::lock_guard lock(nameless_mutex_);
        auto it = nameless_.find(node.id);
        if (it == nameless_.end() || !it->second.fd) return fail(ErrorKind::kStale);
        // The only way to it: kept until the file is open.
        lower::Fd copy(::fcntl(it->second.fd.get(), F_DUPFD_CLOEXEC, 3));
        if (!copy) return fail(lower::Errno{errno});
        return copy;
    }
    auto dir = directory(node.location->parent);
    if (!dir) return std::unexpected(dir.error());
    const auto& entry = node.location->entry;
    const int flags = read_only ? O_RDONLY : O_RDWR;
    auto fd = lower_->open((*dir)->fd.get(), entry, flags, 0);
    if (fd) return std::move(*fd);
    const int error = fd.error().value;
    // The kernel has checked what the caller may do; the lower mode must not stop us from doing it
    // (reading a file that may only be written, writing one made read-only while open). And what
    // cannot be written (EROFS, EPERM of an immutable file) can still be read.
    const bool refused = error == EACCES || error == EPERM || error == EROFS || error == ETXTBSY;
    if (!refused || read_only) return fail(fd.error());
    if (intent == OpenIntent::kRead) {
        if (auto plain = lower_->open((*dir)->fd.get(), entry, O_RDONLY, 0)) {
            std::lock_guard lock(read_only_mutex_);
            read_only_files_.insert(node.id);
            any_read_only_file_ = true;
            return std::move(*plain);
        }
    }
    if (error != EACCES) return fail(fd.error());
    return open_with_mode_lifted(*dir, entry, flags);
}

Result<void> Filesystem::make_writable(const NodeView& node, ContentFile& file) {
    {
        std::lock_guard lock(read_only_mutex_);
        if (!read_only_files_.contains(node.id)) return {};
    }
    auto fd = open_lower_file(node, OpenIntent::kWrite);
    if (!fd) return std::unexpected(fd.error());
    auto is = lower_->stat(fd->get());
    if (!is) return fail(is.error());
    if (is->st_ino != node.ino) return fail(ErrorKind::kStale);
    // Into the same number: one file has one object.
    if (::dup3(fd->get(), file.fd(), O_CLOEXEC) < 0) return fail(lower::Errno{errno});
    std::lock_guard lock(read_only_mutex_);
    read_only_files_.erase(node.id);
    any_read_only_file_ = !read_only_files_.empty();
    return {};
}

Result<lower::Fd> Filesystem::open_with_mode_lifted(const Dir& dir, const std::string& entry,
                                                    int flags) {
    const auto steady = rotation_.steady_mode();
    return open_with_mode_lifted_locked(dir, entry, flags);
}

Result<lower::Fd> Filesystem::open_with_mode_lifted_locked(const Dir& dir, const std::string& entry,
                                                           int flags) {
    auto is = lower_->stat_at(dir->fd.get(), entry);
    if (!is) return fail(is.error());
    if (options_.read_only || is->st_uid != ::geteuid()) return fail(lower::Errno{EACCES});
    const mode_t mode = is->st_mode & 07777;
    ChangeScope scope(*sink_, {.inodes = {is->st_ino}});
    if (auto r = lower_->chmod_at(dir->fd.get(), entry, mode | S_IRUSR | S_IWUSR); !r)
        return fail(r.error());
    auto fd = lower_->open(dir->fd.get(), entry, flags, 0);
    auto back = lower_->chmod_at(dir->fd.get(), entry, mode);
    if (!fd) return fail(fd.error());
    if (!back) return fail(back.error());
    return std::move(*fd);
}

void Filesystem::drop(const std::vector<NodeId>& freed) {
    if (freed.empty()) return;
    for (NodeId node : freed) {
        dirs_->remove(node);
        files_->remove(node);
    }
    if (any_read_only_file_) {
        std::lock_guard lock(read_only_mutex_);
        for (NodeId node : freed) read_only_files_.erase(node);
        any_read_only_file_ = !read_only_files_.empty();
    }
    {
        std::lock_guard lock(unsynced_mutex_);
        for (NodeId node : freed) {
            auto it = unsynced_.find(node);
            if (it == unsynced_.end()) continue;
            unsynced_count_ -= std::min(unsynced_count_, it->second.size());
            unsynced_.erase(it);
            ++lost_count_;
        }
    }
    std::lock_guard lock(nameless_mutex_);
    if (nameless_.empty()) return;
    for (NodeId node : freed) nameless_.erase(node);
}

}  // namespace extencfs::core
