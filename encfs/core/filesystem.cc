// SPDX-License-Identifier: Apache-2.0
// Start, end, and the small operations.
#include "encfs/core/filesystem.h"
#include "encfs/core/namespace_guard.h"

#include "encfs/core/format1.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace extencfs::core {

namespace {
// Shares of the descriptor budget; the rest is for files without a name and short-lived ones.
constexpr std::size_t kDirectoryShare = 4;  // a quarter
constexpr std::size_t kFileShare = 2;       // a half
}  // namespace

Filesystem::Filesystem(std::unique_ptr<lower::LowerFs> lower, lower::Fd root, Options options)
    : lower_(std::move(lower)), options_(std::move(options)), privileged_(::geteuid() == 0) {
    sink_ = options_.sink ? std::move(options_.sink) : std::make_shared<NullSink>();
    root_ = std::make_shared<DirHandle>();
    root_->fd = std::move(root);
    dirs_ = std::make_unique<HandleCache<DirHandle>>(options_.max_descriptors / kDirectoryShare,
                                                     nullptr);
    files_ = std::make_unique<HandleCache<ContentFile>>(
        options_.max_descriptors / kFileShare,
        [](ContentFile& file) { return file.before_close().has_value(); });
}

Result<std::unique_ptr<Filesystem>> Filesystem::open(std::unique_ptr<lower::LowerFs> lower,
                                                     lower::Fd root, FormatMaker make_format,
                                                     Options options) {
    std::unique_ptr<Filesystem> fs(
        new Filesystem(std::move(lower), std::move(root), std::move(options)));
    auto is = fs->lower_->stat(fs->root_->fd.get());
    if (!is) return fail(is.error());
    fs->root_ino_ = is->st_ino;
    fs->lower_dev_ = is->st_dev;
    // What the headers say from here on is durable (FORMAT.md "Writer rules").
    if (!fs->options_.read_only) {
        if (auto r = fs->lower_->syncfs(fs->root_->fd.get()); !r) return fail(r.error());
    }
    fs->root_->ino = fs->root_ino_;
    if (make_format) {
        if (auto r = fs->start_format(std::move(make_format)); !r)
            return std::unexpected(r.error());
    }
    fs->rotation_.format = dynamic_cast<Format1*>(fs->format_.get());
    fs->rotation_.possible = fs->rotation_.format != nullptr && !fs->options_.read_only;
    fs->table_ = std::make_unique<InodeTable>(fs->root_ino_, fs->root_->context, *fs->sink_);
    if (!fs->options_.trust_hints && !fs->options_.read_only) fs->start_recovery_scan();
    return fs;
}

Result<void> Filesystem::start_format(FormatMaker make_format) {
    auto format = make_format(
        {.clean = options_.trust_hints,
         .read_only = options_.read_only,
         .on_damage = [this](int fd, const std::string& what) { report_damage(fd, what); },
         .sink = sink_.get()});
    if (!options_.read_only) {
        if (auto r = format->recover(*lower_, root_->fd.get()); !r)
            return std::unexpected(r.error());
    }
    format_ = std::move(format);
    binding_ = format_->path_binding();
    longest_name_ = format_->longest_name();
    root_->context = format_->root();
    return {};
}

bool Filesystem::forget_keys() {
    for (auto& file : files_->all()) {
        if (!file->settle()) return false;
    }
    if (!files_->clear()) return false;
    {
        std::lock_guard lock(read_only_mutex_);
        read_only_files_.clear();
        any_read_only_file_ = false;
    }
    // A power cut finds what a finished mount leaves.
    if (!options_.read_only && !lower_->syncfs(root_->fd.get())) return false;
    finish_renames();
    if (!options_.read_only) format_->end(*lower_);
    format_.reset();
    return true;
}

Result<void> Filesystem::take_keys(FormatMaker make_format) {
    if (auto r = start_format(std::move(make_format)); !r) return r;
    table_->set_context(kRootNode, root_->context);
    return {};
}

Filesystem::~Filesystem() {
    stopping_ = true;
    if (scan_.joinable()) scan_.join();
}

bool Filesystem::finish() {
    stopping_ = true;
    if (scan_.joinable()) scan_.join();
    bool good = scan_complete_ && !write_lost_;
    for (auto& file : files_->all()) {
        if (!file->settle()) good = false;
    }
    if (options_.read_only) return good;
    if (!lower_->syncfs(root_->fd.get())) return false;
    finish_renames();
    if (format_) format_->end(*lower_);
    drop(table_->clear());
    sink_->end();
    return good;
}

Result<Entry> Filesystem::lookup(NodeId parent, std::string_view name) {
    const auto still = still_paths();
    auto at = place(parent, name);
    if (!at) return std::unexpected(at.error());
    std::shared_lock names(namespace_lock(parent));
    const auto token = sink_->token();
    auto is = lower_->stat_at(at->dir->fd.get(), at->entry());
    if (!is) {
        if (is.error().value != ENOENT) return fail(is.error());
        sink_->publish_entry({parent, name}, 0, token, nullptr);
        return fail(ErrorKind::kNotFound);
    }
    auto entry = entry_of(*at, *is, token);
    if (!entry) return entry;
    sink_->publish_entry({parent, name}, entry->node, token, nullptr);
    // Whoever uses a file soon asks for its ACL.
    publish_if_bare(*entry, *at, token);
    return entry;
}

void Filesystem::forget(NodeId node, std::uint64_t count) {
    // Not the paths: their format may be exchanged meanwhile.
    const auto entered = rotation_.possible ? gate_.enter() : OperationGate::Entered();
    give_back(node, count);
}

void Filesystem::give_back(NodeId node, std::uint64_t count) {
    // References may come back on several threads: one of them is the last.
    std::lock_guard last(open_locks_[node % open_locks_.size()]);
    // Before the node goes: afterwards its lower file may be opened again, under another node.
    if (table_->is_last(node, count)) {
        // A failure was told to whoever waited for a sync; the volume is not clean any more.
        if (auto open = files_->find(node); open && !open->before_close()) write_lost_ = true;
    }
    drop(table_->forget(node, count));
}

Result<std::string> Filesystem::readlink(NodeId node) {
    const auto still = still_paths();
    for (int attempt = 0;; ++attempt) {
        auto is = view(node);
        if (!is) return std::unexpected(is.error());
        if (!S_ISLNK(is->type)) return fail(ErrorKind::kInvalid);
        auto at = place_of(*is);
        if (!at) return std::unexpected(at.error());
        // Neither the name nor a long target's text may go while it is read.
        std::shared_lock names(namespace_lock(at->location.parent));
        if (!table_->is_at(node, at->location)) {
            if (attempt == 8) return fail(ErrorKind::kStale);
            continue;
        }
        auto lower_target = lower_->readlink(at->dir->fd.get(), at->entry());
        if (!lower_target) return fail(lower_target.error());
        auto target = format_->read_symlink(*lower_, root_->fd.get(),
                                            {at->dir->context, at->entry()}, *lower_target);
        if (!target && target.error().kind == ErrorKind::kDamaged)
            report_damage(at->dir->fd.get(), "symlink " + at->entry() + " does not authenticate");
        return target;
    }
}

Result<struct statvfs> Filesystem::statfs() {
    auto is = lower_->statvfs(root_->fd.get());
    if (!is) return fail(is.error());
    is->f_namemax = longest_name_;
    return *is;
}

Filesystem::NamespaceGuard::NamespaceGuard(Filesystem& fs,
                                           std::initializer_list<NodeId> directories) {
    for (NodeId directory : directories) held_[count_++] = &fs.namespace_lock(directory);
    std::sort(held_.begin(), held_.begin() + count_);
    count_ = static_cast<std::size_t>(std::unique(held_.begin(), held_.begin() + count_) -
                                      held_.begin());
    for (std::size_t i = 0; i < count_; ++i) held_[i]->lock();
}

Filesystem::NamespaceGuard::~NamespaceGuard() {
    while (count_ > 0) held_[--count_]->unlock();
}

}  // namespace extencfs::core
