// SPDX-License-Identifier: Apache-2.0
// Contents, symlinks and attributes on their way to the newest generation.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "encfs/core/fd_path.h"
#include "encfs/core/rotator.h"

namespace extencfs::core {

namespace {

// Whether it will never be read, by whatever keys.
bool is_lost(const Error& error) {
    return error.kind == ErrorKind::kDamaged || error.kind == ErrorKind::kStale;
}

}  // namespace

// The first use of a file whose size hint is wrong gives its node up: another one is made.
Result<Filesystem::File> Filesystem::Rotator::open_to_seal(NodeId& node) {
    auto opened = fs_.file(node, OpenIntent::kWrite);
    if (opened || opened.error().kind != ErrorKind::kDamaged) return opened;
    const auto view = fs_.table_->view(node);
    if (!view || !view->distrusted || !view->location) return opened;
    const NodeId again = fs_.table_->acquire(*view->location, view->ino, view->type);
    if (again == 0) return opened;
    fs_.give_back(node, 1);
    node = again;
    return fs_.file(node, OpenIntent::kWrite);
}

Result<void> Filesystem::Rotator::visit_file(NodeId& node, Pass pass) {
    if (const auto view = fs_.table_->view(node); view && notes_.is_walked(view->ino)) return {};
    File file;
    std::string path;
    auto opened = alone([&]() -> Result<void> {
        auto found = open_to_seal(node);
        const auto view = fs_.table_->view(node);
        if (view && view->location) path = view->location->entry;
        if (!found && found.error().kind == ErrorKind::kDamaged) {
            if (pass == Pass::kClean) return {};  // told in the walk before
            return damaged(path, "the header does not authenticate");
        }
        const bool is_gone = !view || view->gone;
        if (!found && is_gone &&
            (is_lost(found.error()) || found.error().kind == ErrorKind::kNotFound))
            return {};
        if (!found) return failed(path, found.error());
        file = std::move(*found);
        path = path_below(fs_.root_->fd.get(), file->fd());
        if (pass == Pass::kSurvey) run_.bytes += file->size();
        if (pass != Pass::kClean) return {};
        // They are, unless what sealed them is at fault: a last look before the old keys go.
        if (file->is_of_older_keys()) return failed(path, Error{ErrorKind::kInternal});
        return seal_attributes_of(node, *file, path, pass);
    });
    if (!opened) return opened;
    auto done = file && pass == Pass::kRenew ? seal_file(node, *file, path) : Result<void>{};
    const auto view = fs_.table_->view(node);
    if (done && view) notes_.note_walked(view->ino);
    return done;
}

Result<void> Filesystem::Rotator::seal_attributes(int fd, NodeId node, const ByteArray<16>& owner,
                                                  const std::string& path, Pass pass) {
    // They may go by way of a file in the root.
    Inside root(fs_);
    if (auto r = root.open(kRootNode); !r) return r;
    const auto sealed = fs_.rotation_.resealing->attributes(fd, owner);
    if (!sealed) return failed(path, Error{ErrorKind::kLower, sealed.error().value});
    if (sealed->changed_mode && fs_.on_attributes_stale_) fs_.on_attributes_stale_(node);
    if (sealed->damaged != 0 && pass == Pass::kRenew)
        return damaged(path, "attributes do not authenticate");
    return {};
}

Result<void> Filesystem::Rotator::seal_attributes_of(NodeId node, const ContentFile& file,
                                                     const std::string& path, Pass pass) {
    const auto owner = format_.content_id(*fs_.lower_, file.fd());
    if (!owner) return std::unexpected(owner.error());
    return seal_attributes(file.fd(), node, *owner, path, pass);
}

Result<void> Filesystem::Rotator::seal_file(NodeId node, ContentFile& file,
                                            const std::string& path) {
    ResealProgress progress;
    bool first = true;
    std::uint64_t told = 0;
    while (!progress.done) {
        if (auto r = stopped(); !r) return r;
        auto done = alone([&]() -> Result<void> {
            const auto before = fs_.lower_->stat(file.fd());
            if (!before) return fail(before.error());
            if (first) {
                ChangeScope scope(*fs_.sink_, {.inodes = {before->st_ino}});
                auto sealed = seal_attributes_of(node, file, path, Pass::kRenew);
                if (!sealed) return sealed;
                first = false;
            }
            if (!file.is_of_older_keys()) {
                progress.done = true;
                return {};
            }
            ChangeScope scope(*fs_.sink_, {.inodes = {before->st_ino}});
            auto step = file.reseal(progress);
            // Nobody changed anything meanwhile; another user's file keeps the time of the change.
            const struct timespec times[2] = {before->st_atim, before->st_mtim};
            (void)fs_.lower_->utimens(file.fd(), times);
            return step;
        });
        if (!done && progress.lost_writes) return lost_writes(path, done.error());
        if (!done) return failed(path, done.error());
        const std::uint64_t at = progress.next == 0 ? 0 : progress.next / 2 * 4096;
        run_.bytes += at - std::min(at, told);
        told = std::max(at, told);
        if (progress.sealed && !progress.done) {
            if (auto r = file.settle(); !r) return failed(path, r.error());
            if (auto r = file.sync(true); !r) return lost_writes(path, r.error());
        }
    }
    const std::uint64_t size = file.size();
    run_.bytes += size - std::min(size, told);
    if (progress.damaged != 0)
        return damaged(path, std::to_string(progress.damaged) + " fragments do not authenticate");
    return {};
}

// Files that are open and have no name: no walk comes by them.
Result<void> Filesystem::Rotator::seal_nameless(bool& any) {
    std::vector<NodeId> nodes;
    {
        const std::lock_guard lock(fs_.nameless_mutex_);
        for (const auto& [node, nameless] : fs_.nameless_) {
            if (S_ISREG(nameless.attr.st_mode)) nodes.push_back(node);
        }
    }
    for (const NodeId node : nodes) {
        const auto view = fs_.table_->view(node);
        if (!view || notes_.is_walked(view->ino) || !fs_.table_->hold(node)) continue;
        any = true;
        File file;
        auto done = alone([&]() -> Result<void> {
            auto found = fs_.file(node, OpenIntent::kWrite);
            if (!found && is_lost(found.error())) return {};
            if (!found) return failed("a file without a name", found.error());
            file = std::move(*found);
            return {};
        });
        // With its attributes, of which its header says nothing.
        if (file) done = seal_file(node, *file, "a file without a name");
        if (done) notes_.note_walked(view->ino);
        file.reset();
        fs_.forget(node, 1);
        if (!done) return done;
    }
    // The rest has names, and was come by. To be sure of it costs nothing.
    for (const auto& [node, file] : fs_.files_->all_with_nodes()) {
        if (!file->is_of_older_keys() || !fs_.table_->hold(node)) continue;
        // While the node is held, no other object stands for the same file.
        any = true;
        auto done = fs_.files_->find(node) == file ? seal_file(node, *file, "an open file")
                                                   : Result<void>{};
        fs_.forget(node, 1);
        if (!done) return done;
    }
    return {};
}

bool Filesystem::Rotator::is_done(const Moved& moved) {
    const auto view = fs_.table_->view(moved.node);
    // A new header is not enough: attributes are not sealed with the contents.
    return !view || view->gone || notes_.is_walked(view->ino) ||
           (!S_ISREG(view->type) && !S_ISDIR(view->type) && !S_ISLNK(view->type));
}

// LOCKS: nobody is in the gate.
bool Filesystem::Rotator::anything_left() {
    if (!waiting_.empty() || notes_.lost()) return true;
    // Something moves all the time, in some volumes: what is done with is no reason to go on.
    bool moved = false;
    for (Moved& one : notes_.take_all()) {
        if (!is_done(one) && notes_.add(one)) {
            moved = true;
            continue;
        }
        fs_.give_back(one.node, 1);
        fs_.give_back(one.location.parent, 1);
    }
    if (moved) return true;
    {
        const std::lock_guard lock(fs_.nameless_mutex_);
        for (const auto& [node, nameless] : fs_.nameless_) {
            const auto view = fs_.table_->view(node);
            if (view && S_ISREG(view->type) && !notes_.is_walked(view->ino)) return true;
        }
    }
    return std::ranges::any_of(fs_.files_->all(),
                               [](const File& file) { return file->is_of_older_keys(); });
}

Result<bool> Filesystem::Rotator::prepare_symlink(Inside& in, const std::string& entry,
                                                  const struct stat& is) {
    Inside root(fs_);
    if (auto r = root.open(kRootNode); !r) return std::unexpected(r.error());
    const auto prepared = fs_.rotation_.resealing->prepare_symlink(in.fd(), entry, is);
    if (!prepared)
        return failed(path_of(in, entry), Error{ErrorKind::kLower, prepared.error().value});
    return *prepared;
}

Result<void> Filesystem::Rotator::seal_symlink(Inside& in, const std::string& entry,
                                               const struct stat& is, const std::string& plain,
                                               Pass pass) {
    const std::string path = path_of(in, entry);
    // A long target's text lies in the root.
    ChangeScope scope(*fs_.sink_, {.inodes = {is.st_ino, in.dir()->ino, fs_.root_ino_},
                                   .names = {{{in.node(), plain}}}});
    const auto root_before = fs_.lower_->stat(fs_.root_->fd.get());
    const auto state = fs_.rotation_.resealing->symlink(in.fd(), entry, is);
    if (!state) return failed(path, Error{ErrorKind::kLower, state.error().value});
    const auto now = *state == Resealing::Link::kReplaced ? fs_.lower_->stat_at(in.fd(), entry)
                                                          : lower::Result<struct stat>(is);
    if (now) notes_.note_walked(now->st_ino);
    if (*state == Resealing::Link::kDamaged)
        return pass == Pass::kClean ? Result<void>{} : damaged(path, "the target does not open");
    if (*state == Resealing::Link::kNew) return {};
    if (root_before) {
        const struct timespec times[2] = {root_before->st_atim, root_before->st_mtim};
        (void)fs_.lower_->utimens(fs_.root_->fd.get(), times);
    }
    // Another inode has the name. Whoever asks for the old node by it is told to look it up again.
    if (fs_.on_entry_stale_) fs_.on_entry_stale_(in.node(), plain);
    const NodeId node = fs_.table_->find(is.st_ino);
    if (node == 0) return {};
    // That goes for its other names as well, which nobody would rename for it any more.
    for (auto view = fs_.table_->view(node); view && view->location; view = fs_.table_->view(node))
        fs_.table_->remove_location(node, *view->location, false);
    fs_.table_->distrust(node);
    return {};
}

Result<void> Filesystem::renew_xattrs(const XattrTarget& target) {
    if (!is_rotating()) return {};
    const std::lock_guard one(rotation_.xattr_renewal);
    lower::Fd own;
    int fd = target.fd;
    if (fd < 0) {
        auto opened =
            open_with_mode_lifted_locked(target.dir, target.entry, O_RDONLY | O_DIRECTORY);
        if (!opened) return std::unexpected(opened.error());
        own = std::move(*opened);
        fd = own.get();
    }
    ByteArray<16> owner = target.owner;
    if (target.file) {
        auto id = format_->content_id(*lower_, fd);
        if (!id) return std::unexpected(id.error());
        owner = *id;
    }
    // They may go by way of a file in the root.
    ChangeScope scope(*sink_, {.inodes = {target.ino, root_ino_}});
    const auto sealed = rotation_.resealing->attributes(fd, owner);
    if (!sealed) return fail(sealed.error());
    if (sealed->changed_mode && on_attributes_stale_) on_attributes_stale_(target.node);
    return {};
}

}  // namespace extencfs::core
