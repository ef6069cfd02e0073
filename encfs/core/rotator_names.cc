// SPDX-License-Identifier: Apache-2.0
// The names of one directory on their way to the newest generation: all of them in one step, so
// that nobody sees two kinds in one directory.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "encfs/core/rotator.h"
#include "encfs/volume/format.h"

namespace extencfs::core {

struct Filesystem::Rotator::Item {
    std::string entry;
    std::string plain;
    std::uint64_t position = 0, cookie = 0;  // of the listing below: before it, after it
    unsigned char type = 0;
    CipherName fresh;
    struct stat is {};
};

// ---- before ----

// The id file of a subdirectory: valid at both entries, so that the step of the names need not
// write it, nor wait for the disk.
Result<void> Filesystem::Rotator::prepare_directory(Inside& in, const std::string& entry,
                                                    const std::string& fresh) {
    const int flags = O_RDONLY | O_DIRECTORY;
    auto fd = fs_.lower_->open(in.fd(), entry, flags, 0);
    auto opened = fd                           ? Result<lower::Fd>(std::move(*fd))
                  : fd.error().value == EACCES ? fs_.open_with_mode_lifted(in.dir(), entry, flags)
                                               : fail(fd.error());
    if (!opened) return failed(path_of(in, entry), opened.error());
    auto done = format_.before_renewal(*fs_.lower_, opened->get(), in.dir()->context, entry, fresh,
                                       !fs_.renamed_.contains(in.dir()->ino, entry));
    // It was told in the survey, and to be given up; else it is to be brought back first.
    if (!done && done.error().kind == ErrorKind::kDamaged && run_.leave_damaged) return {};
    if (!done) return failed(path_of(in, entry), done.error());
    return {};
}

Result<void> Filesystem::Rotator::prepare(Inside& in, Item& item) {
    auto is = fs_.lower_->stat_at(in.fd(), item.entry);
    if (!is) return failed(path_of(in, item.entry), Error{ErrorKind::kLower, is.error().value});
    if (S_ISLNK(is->st_mode)) {
        // One that came here since the others were looked at.
        if (auto r = seal_symlink(in, item.entry, *is, item.plain, Pass::kRenew); !r) return r;
        is = fs_.lower_->stat_at(in.fd(), item.entry);
        if (!is) return failed(path_of(in, item.entry), Error{ErrorKind::kLower, is.error().value});
    }
    item.is = *is;
    if (S_ISDIR(is->st_mode)) {
        if (auto r = prepare_directory(in, item.entry, item.fresh.entry); !r) return r;
    }
    return prepare_side_file(in, item.entry, item.fresh);
}

// Of a long name, durable before anything has that name. Most are written before the step of the
// names, which then need not wait for the disk.
Result<void> Filesystem::Rotator::prepare_side_file(Inside& in, const std::string& entry,
                                                    const CipherName& fresh) {
    if (fresh.side_name.empty()) return {};
    if (in.node() != sided_in_) sided_.clear();
    sided_in_ = in.node();
    // A directory that was about to be removed meanwhile has lost it again.
    if (!sided_.insert(fresh.side_name).second && fs_.lower_->stat_at(in.fd(), fresh.side_name))
        return {};
    Place at{in.dir(), Location{in.node(), fresh.entry}, fresh};
    if (auto r = fs_.write_durable_side_file(at); !r) {
        sided_.erase(fresh.side_name);
        return failed(path_of(in, entry), r.error());
    }
    return {};
}

Result<std::vector<Filesystem::Rotator::Item>> Filesystem::Rotator::items_of(Inside& in) {
    std::vector<Item> items;
    const DirContext& context = in.dir()->context;
    std::optional<Error> unreadable;
    std::string at;
    auto listed = fs_.lower_->list(in.fd(), [&](const lower::DirEntry& entry) {
        // What does not decode stays as it is, and was told. Whatever else keeps it from being
        // read now must not keep it from getting its new name.
        auto name = format_.decode_name(*fs_.lower_, in.fd(), context, entry.name);
        if (!name) {
            const ErrorKind why = name.error().kind;
            if (why == ErrorKind::kInvalid || why == ErrorKind::kDamaged) return true;
            unreadable = name.error();
            at = entry.name;
            return false;
        }
        Item item;
        item.entry = entry.name;
        item.plain = std::move(*name);
        item.position = entry.position;
        item.cookie = entry.cookie;
        item.type = entry.type;
        item.is.st_ino = entry.ino;
        items.push_back(std::move(item));
        return true;
    });
    if (!listed) return failed(path_of(in, ""), Error{ErrorKind::kLower, listed.error().value});
    if (unreadable) return failed(path_of(in, at), *unreadable);
    for (Item& item : items) {
        auto fresh = format_.encode_name(format_.renewed(context), item.plain);
        if (!fresh) return failed(path_of(in, item.entry), fresh.error());
        item.fresh = std::move(*fresh);
    }
    return items;
}

// ---- the step ----

lower::Result<void> Filesystem::Rotator::rename_in(Inside& in, const std::string& from,
                                                   const std::string& to) {
    using lower::RenameMode;
    lower::LowerFs& fs = *fs_.lower_;
    auto moved = fs.rename(in.fd(), from, in.fd(), to, RenameMode::kNoReplace);
    if (moved || moved.error().value != EINVAL) return moved;
    // A lower file system without RENAME_NOREPLACE; nobody else is here.
    const auto there = fs.stat_at(in.fd(), to);
    if (there) return std::unexpected(lower::Errno{EEXIST});
    if (there.error().value != ENOENT) return std::unexpected(there.error());
    return fs.rename(in.fd(), from, in.fd(), to, RenameMode::kReplace);
}

Result<void> Filesystem::Rotator::take_back(Inside& in, const std::vector<Item>& items,
                                            std::size_t count) {
    Result<void> done;
    while (count-- > 0) {
        const Item& item = items[count];
        if (auto back = rename_in(in, item.fresh.entry, item.entry); !back) {
            done = fail(back.error());
            continue;
        }
        const NodeId node = fs_.table_->find(item.is.st_ino);
        if (node != 0)
            fs_.table_->move(node, {in.node(), item.fresh.entry}, {in.node(), item.entry});
    }
    return done;
}

Result<void> Filesystem::Rotator::rename_all(Inside& in, const std::vector<Item>& items) {
    for (std::size_t i = 0; i < items.size(); ++i) {
        const Item& item = items[i];
        ChangeScope scope(*fs_.sink_, {.inodes = {item.is.st_ino, in.dir()->ino}});
        if (auto moved = rename_in(in, item.entry, item.fresh.entry); !moved) {
            (void)take_back(in, items, i);
            return failed(path_of(in, item.entry), Error{ErrorKind::kLower, moved.error().value});
        }
        const NodeId node = fs_.table_->find(item.is.st_ino);
        if (node != 0)
            fs_.table_->move(node, {in.node(), item.entry}, {in.node(), item.fresh.entry});
    }
    if (auto r = renew_id_file(in); !r) {
        (void)take_back(in, items, items.size());
        return failed(path_of(in, ""), r.error());
    }
    for (const Item& item : items) {
        if (S_ISDIR(item.is.st_mode))
            fs_.renamed_.add({in.node(), item.fresh.entry}, in.dir()->ino);
    }
    return {};
}

// Its own id file says which generation the names in it are of.
Result<void> Filesystem::Rotator::renew_id_file(Inside& in) {
    if (in.node() == kRootNode) return {};
    const auto view = fs_.view(in.node());
    if (!view) return std::unexpected(view.error());
    const auto at = fs_.place_of(*view);
    if (!at) return std::unexpected(at.error());
    return format_.renew_directory(*fs_.lower_, in.fd(), at->dir->context, at->entry());
}

Result<void> Filesystem::Rotator::renew_names(NodeId node) {
    return alone_in(node, [&](Inside& in) -> Result<void> {
        if (format_.is_newest(in.dir()->context)) {
            // Its id file may be of an older one all the same: it was given back by a failed rmdir.
            if (auto r = renew_id_file(in); !r) return failed(path_of(in, ""), r.error());
            return {};
        }
        auto items = items_of(in);
        if (!items) return std::unexpected(items.error());
        ListingSnapshot order;
        for (Item& item : *items) {
            if (auto r = prepare(in, item); !r) return r;
            order.items.push_back(
                {item.plain, item.is.st_ino, item.type, item.position, item.cookie});
        }
        if (auto r = rename_all(in, *items); !r) return r;
        fs_.rotation_.snapshots.keep_order(node, std::move(order));
        in.dir()->context = format_.renewed(in.dir()->context);
        fs_.table_->set_context(node, in.dir()->context);
        return {};
    });
}

// ---- afterwards ----

Result<void> Filesystem::Rotator::sweep_side_files(NodeId node) {
    return alone_in(node, [&](Inside& in) -> Result<void> {
        std::vector<std::string> side_files;
        auto listed = fs_.lower_->list(in.fd(), [&](const lower::DirEntry& entry) {
            if (format_.is_reserved(entry.name) && !format_.entry_of_side_file(entry.name).empty())
                side_files.emplace_back(entry.name);
            return true;
        });
        if (!listed) return failed(path_of(in, ""), Error{ErrorKind::kLower, listed.error().value});
        for (const std::string& side : side_files) {
            const auto entry = fs_.lower_->stat_at(in.fd(), format_.entry_of_side_file(side));
            if (entry || entry.error().value != ENOENT) continue;
            const auto gone = fs_.lower_->unlink(in.fd(), side);
            if (!gone && gone.error().value != ENOENT)
                return failed(path_of(in, side), Error{ErrorKind::kLower, gone.error().value});
        }
        return {};
    });
}

}  // namespace extencfs::core
