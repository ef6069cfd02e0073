// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/rotator.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "encfs/core/fd_path.h"

namespace extencfs::core {

namespace {

// So long others may have to wait between two rests.
constexpr std::chrono::steady_clock::duration kTurn = std::chrono::milliseconds(1);
constexpr std::chrono::steady_clock::duration kNap = std::chrono::milliseconds(50);
// What is left is moved as fast as it is looked at: then it rests less.
constexpr std::size_t kManyMoved = 64;
constexpr int kLessRest = 8;
constexpr std::chrono::steady_clock::duration kSettled = std::chrono::seconds(5);
constexpr std::size_t kManyRenamed = 512;

}  // namespace

// ---- a directory within a step ----

Result<void> Filesystem::Rotator::Inside::open(NodeId node) {
    node_ = node;
    auto dir = fs_.directory(node);
    if (!dir) return std::unexpected(dir.error());
    dir_ = std::move(*dir);
    auto is = fs_.lower_->stat(dir_->fd.get());
    if (!is) return fail(is.error());
    before_ = *is;
    scope_.emplace(*fs_.sink_, Change{.inodes = {dir_->ino}});
    const bool closed = !fs_.privileged_ && (is->st_mode & S_IRWXU) != S_IRWXU;
    if (dir_->by_path_only || closed) return lift(*is);
    return {};
}

Result<void> Filesystem::Rotator::Inside::lift(const struct stat& is) {
    auto view = fs_.view(node_);
    if (!view) return std::unexpected(view.error());
    if (node_ == kRootNode) {
        if (auto r = fs_.lower_->chmod(dir_->fd.get(), (is.st_mode & 07777U) | S_IRWXU); !r)
            return fail(r.error());
        lifted_ = true;
        return {};
    }
    auto at = fs_.place_of(*view);
    if (!at) return std::unexpected(at.error());
    auto r = fs_.lower_->chmod_at(at->dir->fd.get(), at->entry(), (is.st_mode & 07777U) | S_IRWXU);
    if (!r) return fail(r.error());
    auto fd = fs_.lower_->open(at->dir->fd.get(), at->entry(), O_RDONLY | O_DIRECTORY, 0);
    if (!fd) {
        (void)fs_.lower_->chmod_at(at->dir->fd.get(), at->entry(), is.st_mode & 07777U);
        return fail(fd.error());
    }
    own_ = std::move(*fd);
    lifted_ = true;
    return {};
}

Filesystem::Rotator::Inside::~Inside() {
    if (!dir_) return;
    const bool by_path = dir_->by_path_only && !own_;
    if (by_path) return;
    const auto now = fs_.lower_->stat(fd());
    const bool moved = now && (now->st_mtim.tv_sec != before_.st_mtim.tv_sec ||
                               now->st_mtim.tv_nsec != before_.st_mtim.tv_nsec);
    const struct timespec times[2] = {before_.st_atim, before_.st_mtim};
    // Not ours to set on another user's directory: then it is as after any change in it.
    if (moved) (void)fs_.lower_->utimens(fd(), times);
    if (lifted_) (void)fs_.lower_->chmod(fd(), before_.st_mode & 07777U);
}

// ---- steps ----

Filesystem::Rotator::~Rotator() {
    for (const Moved& one : notes_.take_all()) {
        fs_.forget(one.node, 1);
        fs_.forget(one.location.parent, 1);
    }
    for (const NodeId node : waiting_) fs_.forget(node, 1);
    notes_.forget_walked();
}

void Filesystem::Rotator::rest() {
    if (owed_ < kTurn) return;
    const bool is_chased = waiting_.empty() && notes_.count() > kManyMoved;
    auto left = is_chased ? owed_ / kLessRest : owed_;
    while (left.count() > 0 && stopped()) {
        std::this_thread::sleep_for(std::min(left, kNap));
        left -= kNap;
    }
    owed_ = {};
}

Result<void> Filesystem::Rotator::settle() {
    settled_ = std::chrono::steady_clock::now();
    // Of what an operation's fsync was told, the sync here need not be.
    const Error lost{ErrorKind::kLower, EIO};
    if (fs_.rotation_.lost_writes) return lost_writes("", lost);
    if (auto r = fs_.settle_renames(fs_.rotation_.sync_fd.get()); !r)
        return lost_writes("", r.error());
    return {};
}

Result<void> Filesystem::Rotator::settle_sometimes() {
    const bool few = fs_.renamed_.count() < kManyRenamed;
    if (few && std::chrono::steady_clock::now() - settled_ < kSettled) return {};
    return settle();
}

std::unexpected<Error> Filesystem::Rotator::lost_writes(const std::string& path,
                                                        const Error& error) {
    fs_.rotation_.lost_writes = true;
    fs_.write_lost_ = true;
    return failed(path, error);
}

Result<void> Filesystem::Rotator::stopped() const {
    if (run_.stop || fs_.stopping_) return fail(lower::Errno{ECANCELED});
    return {};
}

std::unexpected<Error> Filesystem::Rotator::failed(const std::string& path, Error error) {
    if (run_.failed_at.empty()) run_.failed_at = path;
    return std::unexpected(error);
}

Result<void> Filesystem::Rotator::damaged(const std::string& path, const std::string& what) {
    ++run_.damaged;
    if (run_.on_damage) run_.on_damage(path, what);
    return {};
}

std::string Filesystem::Rotator::path_of(const Inside& in, const std::string& entry) const {
    const std::string dir = path_below(fs_.root_->fd.get(), in.fd());
    return dir.empty() ? entry : dir + "/" + entry;
}

Result<void> Filesystem::Rotator::wait_for(NodeId directory) {
    waiting_.push_back(directory);
    return {};
}

// ---- walking ----

Result<void> Filesystem::Rotator::walk(Pass pass) {
    if (!fs_.table_->hold(kRootNode)) return fail(ErrorKind::kStale);
    pass_ = pass;
    notes_.forget_walked();
    waiting_.push_back(kRootNode);
    return go_on(pass);
}

Result<void> Filesystem::Rotator::go_on(Pass pass) {
    for (;;) {
        if (auto r = stopped(); !r) return r;
        // What waits longest is not looked at last only because much is moved.
        moved_last_ = !waiting_.empty() && !moved_last_ && notes_.count() > kManyMoved;
        if (!waiting_.empty() && !moved_last_) {
            const NodeId node = waiting_.back();
            waiting_.pop_back();
            auto done = visit(node, pass);
            fs_.forget(node, 1);
            if (!done) return done;
            continue;
        }
        const auto moved = notes_.take_one();
        if (!moved && waiting_.empty()) return {};
        if (!moved) continue;
        auto done = visit_moved(*moved, pass);
        fs_.forget(moved->node, 1);
        fs_.forget(moved->location.parent, 1);
        if (!done) return done;
    }
}

Result<bool> Filesystem::Rotator::enter(NodeId node, Inside& in) {
    const auto view = fs_.table_->view(node);
    if (!view || view->gone) return false;
    auto opened = in.open(node);
    if (opened) return true;
    const std::string path = view->location ? view->location->entry : std::string();
    // One that was whole in the survey may be brought back.
    const bool stops = pass_ == Pass::kRenew && !run_.leave_damaged;
    if (opened.error().kind == ErrorKind::kDamaged && !stops) {
        if (told_.insert(view->ino).second)
            (void)damaged(path, "the directory's id file does not authenticate");
        return false;
    }
    // Whatever else it is: what lies in it would be lost with the older keys.
    return failed(path, opened.error());
}

Result<bool> Filesystem::Rotator::is_in_its_place(const Inside& in, Pass pass) {
    const auto view = fs_.view(in.node());
    if (!view) return std::unexpected(view.error());
    const auto at = fs_.place_of(*view);
    const auto right = at ? format_.check_place(*fs_.lower_, in.fd(), at->dir->context, at->entry())
                          : Result<void>(std::unexpected(at.error()));
    if (right) return true;
    const bool stops = pass == Pass::kRenew && !run_.leave_damaged;
    if (stops || right.error().kind != ErrorKind::kDamaged)
        return failed(path_of(in, ""), right.error());
    if (told_.insert(view->ino).second)
        (void)damaged(path_of(in, ""), "the directory is not where it belongs");
    if (pass == Pass::kSurvey) return false;
    fs_.table_->forget_context(in.node());
    fs_.dirs_->remove(in.node());
    return false;
}

Result<std::vector<std::string>> Filesystem::Rotator::entries_of(NodeId node, Pass pass) {
    std::vector<std::string> entries;
    auto done = alone_in(node, [&](Inside& in) -> Result<void> {
        if (pass != Pass::kClean && node != kRootNode) {
            auto right = is_in_its_place(in, pass);
            if (!right) return std::unexpected(right.error());
            if (!*right) return {};
        }
        notes_.note_walked(in.dir()->ino);
        if (pass != Pass::kSurvey) {
            auto sealed =
                seal_attributes(in.fd(), node, in.dir()->context.id, path_of(in, ""), pass);
            if (!sealed) return sealed;
        }
        if (pass == Pass::kClean && !format_.is_newest(in.dir()->context))
            return failed(path_of(in, ""), Error{ErrorKind::kInternal});
        auto listed = fs_.lower_->list(in.fd(), [&](const lower::DirEntry& entry) {
            if (!format_.is_reserved(entry.name)) entries.emplace_back(entry.name);
            return true;
        });
        if (!listed) return failed(path_of(in, ""), Error{ErrorKind::kLower, listed.error().value});
        return {};
    });
    if (!done) return std::unexpected(done.error());
    return entries;
}

Result<void> Filesystem::Rotator::visit(NodeId node, Pass pass) {
    const auto view = fs_.table_->view(node);
    if (!view || notes_.is_walked(view->ino)) return {};
    const auto entries = entries_of(node, pass);
    if (!entries) return std::unexpected(entries.error());
    for (const std::string& entry : *entries) {
        if (auto r = stopped(); !r) return r;
        if (auto r = visit_entry(node, entry, pass); !r) return r;
    }
    if (pass == Pass::kRenew) {
        if (auto r = renew_names(node); !r) return r;
        return settle_sometimes();
    }
    if (pass == Pass::kClean) return sweep_side_files(node);
    return {};
}

Result<void> Filesystem::Rotator::visit_moved(const Moved& moved, Pass pass) {
    const auto view = fs_.table_->view(moved.node);
    if (!view || pass == Pass::kSurvey) return {};
    if (S_ISDIR(view->type)) return visit(moved.node, pass);
    if (S_ISREG(view->type)) {
        NodeId node = moved.node;
        if (!fs_.table_->hold(node)) return {};
        auto done = visit_file(node, pass);
        fs_.forget(node, 1);
        return done;
    }
    return visit_entry(moved.location.parent, moved.location.entry, pass);
}

Result<void> Filesystem::Rotator::visit_entry(NodeId node, const std::string& entry, Pass pass) {
    Next next;
    const auto look = [&](Inside& in) { return look_at_entry(in, entry, pass, next); };
    auto done = alone_in(node, look);
    if (done && next.settle) {
        done = settle();
        next.settle = false;
        if (done) done = alone_in(node, look);
    }
    if (next.file == 0) return done;
    if (done) done = visit_file(next.file, pass);
    fs_.forget(next.file, 1);
    return done;
}

Result<void> Filesystem::Rotator::look_at_entry(Inside& in, const std::string& entry, Pass pass,
                                                Next& next) {
    const auto is = fs_.lower_->stat_at(in.fd(), entry);
    if (!is && is.error().value == ENOENT) return {};
    const std::string path = path_of(in, entry);
    if (!is) return failed(path, Error{ErrorKind::kLower, is.error().value});
    if (is->st_dev != fs_.lower_dev_) return failed(path, Error{ErrorKind::kCrossesMount});
    const DirContext& context = in.dir()->context;
    const auto name = format_.decode_name(*fs_.lower_, in.fd(), context, entry);
    if (!name &&
        (name.error().kind == ErrorKind::kInvalid || name.error().kind == ErrorKind::kDamaged)) {
        if (pass == Pass::kClean && format_.is_older_name(*fs_.lower_, in.fd(), context, entry))
            return failed(path, Error{ErrorKind::kInternal});
        if (name.error().kind == ErrorKind::kInvalid || pass == Pass::kClean) return {};
        return damaged(path, "the name does not authenticate");
    }
    if (!name) return failed(path, name.error());
    if (pass == Pass::kRenew && S_ISLNK(is->st_mode)) {
        const auto prepared = prepare_symlink(in, entry, *is);
        if (!prepared) return std::unexpected(prepared.error());
        next.settle = *prepared;
        if (next.settle) return {};
    }
    ++run_.things;
    if (pass == Pass::kRenew && !format_.is_newest(context)) {
        const auto fresh = format_.encode_name(format_.renewed(context), *name);
        if (!fresh) return failed(path, fresh.error());
        if (auto r = prepare_side_file(in, entry, *fresh); !r) return r;
        if (S_ISDIR(is->st_mode)) {
            if (auto r = prepare_directory(in, entry, fresh->entry); !r) return r;
        }
    }
    const auto acquire = [&] {
        return fs_.table_->acquire({in.node(), entry}, is->st_ino, is->st_mode);
    };
    if (S_ISREG(is->st_mode)) next.file = acquire();
    if (S_ISLNK(is->st_mode)) {
        if (pass != Pass::kSurvey) return seal_symlink(in, entry, *is, *name, pass);
        const auto target = fs_.lower_->readlink(in.fd(), entry);
        if (!target) return failed(path, Error{ErrorKind::kLower, target.error().value});
        if (!format_.decode_symlink(*fs_.lower_, fs_.root_->fd.get(), *target))
            return damaged(path, "the target does not open");
        return {};
    }
    if (!S_ISDIR(is->st_mode)) return {};
    const NodeId child = acquire();
    return child == 0 ? Result<void>{} : wait_for(child);
}

Result<void> Filesystem::Rotator::survey() {
    return walk(Pass::kSurvey);
}

Result<void> Filesystem::Rotator::renew() {
    if (auto r = walk(Pass::kRenew); !r) return r;
    for (;;) {
        bool any = false;
        if (auto r = seal_nameless(any); !r) return r;
        const bool again = notes_.take_lost();
        if (auto r = again ? walk(Pass::kRenew) : go_on(Pass::kRenew); !r) return r;
        if (any || again) continue;
        if (!alone([this] { return anything_left(); })) return {};
    }
}

Result<void> Filesystem::Rotator::clean() {
    return walk(Pass::kClean);
}

}  // namespace extencfs::core
