// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/passes.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "encfs/rotate/file_contents.h"

namespace extencfs::rotate {

using daemon::Outcome;

Outcome<void> Passes::run() {
    // Headers that are read are durable then, whatever ended before.
    if (auto synced = tools_.fs.syncfs(tools_.root_fd); !synced) {
        return cannot("", "synced", synced.error());
    }
    const auto attributes = Attributes::look(tools_);
    if (!attributes) return cannot("", "listed", attributes.error());
    attributes_ = &*attributes;
    migrate::WorkPool pool(jobs_);
    pool_ = &pool;
    if (auto sealed = pass(Phase::kContents, &Passes::seal_directory); !sealed) return sealed;
    if (auto renamed = pass(Phase::kNames, &Passes::rename_in); !renamed) return renamed;
    return pass(Phase::kCleaning, &Passes::clean_directory);
}

Outcome<void> Passes::pass(Phase phase, Walk walk) {
    progress_.begin(phase);
    auto root = open_root(tools_);
    if (!root) return std::unexpected(root.error());
    auto done = (this->*walk)(*root);
    pool_->drain();
    if (!done) return done;
    if (auto stopped = stop_.outcome(); !stopped) return stopped;
    if (phase == Phase::kCleaning) {
        if (auto clean = links_.clean(); !clean) return cannot("", "cleaned", clean.error());
    }
    if (auto synced = tools_.fs.syncfs(tools_.root_fd); !synced) {
        return cannot("", "synced", synced.error());
    }
    return {};
}

Outcome<void> Passes::lift(const OpenDir& dir) {
    if (::geteuid() == 0) return {};
    const auto is = tools_.fs.stat(dir.fd.get());
    if (!is) return cannot(dir.path, "read", is.error());
    if ((is->st_mode & S_IRWXU) == S_IRWXU) return {};
    auto lifted = tools_.fs.chmod(dir.fd.get(), (is->st_mode & 07777U) | S_IRWXU);
    if (!lifted) return cannot(dir.path, "changed", lifted.error());
    return {};
}

Outcome<void> Passes::give_back(int fd, std::uint64_t ino, const std::string& path) {
    const Before* before = journal_.find(ino);
    if (before == nullptr) return {};
    if (auto done = restore(tools_.fs, fd, *before); !done) {
        return cannot(path, "given its times", done.error());
    }
    return {};
}

bool Passes::is_first(std::uint64_t ino) {
    const std::lock_guard lock(linked_mutex_);
    return linked_.insert(ino).second;
}

// ---- contents ----

Outcome<void> Passes::seal_directory(const Dir& dir) {
    if (auto lifted = lift(*dir); !lifted) return lifted;
    auto listing = list(tools_, *dir);
    if (!listing) return std::unexpected(listing.error());
    for (const std::string& entry : listing->unknown) {
        damages_.add(below(dir->path, entry), "the name does not authenticate");
    }
    const auto damaged = attributes_->seal({dir->fd.get(), dir->id});
    if (!damaged) return cannot(dir->path, "given its attributes", damaged.error());
    if (*damaged != 0) damages_.add(dir->path, "attributes do not authenticate");
    for (const Item& item : listing->items) {
        if (stop_.stopped()) return stop_.outcome();
        ++progress_.things;
        auto name = tools_.now().names.encode(dir->id, item.plain);
        if (!name) return cannot(below(dir->path, item.entry), "named", lower::Errno{EIO});
        if (!tools_.is_now(item.keys)) {
            if (auto put = write_side_file(*dir, *name); !put) return put;
        }
        auto done = Outcome<void>{};
        if (S_ISDIR(item.is.st_mode)) done = seal_child(dir, item, name->entry);
        if (S_ISLNK(item.is.st_mode)) done = seal_symlink(*dir, item);
        if (S_ISREG(item.is.st_mode) && (item.is.st_nlink == 1 || is_first(item.is.st_ino))) {
            pool_->put([this, dir, item] {
                if (stop_.stopped()) return;
                if (auto sealed = seal_file(*dir, item); !sealed) stop_.because(sealed.error());
            });
        }
        if (!done) return done;
    }
    return {};
}

Outcome<void> Passes::write_side_file(const OpenDir& dir, const volume::LowerName& name) {
    if (name.side_name.empty()) return {};
    const std::string path = below(dir.path, name.side_name);
    auto file = tools_.fs.open(dir.fd.get(), name.side_name, O_WRONLY | O_CREAT, 0644);
    if (!file) return cannot(path, "made", file.error());
    auto put = tools_.fs.pwrite(file->get(), name.side_bytes, 0);
    if (!put) return cannot(path, "written", put.error());
    return {};
}

Outcome<void> Passes::seal_child(const Dir& dir, const Item& item, const std::string& new_entry) {
    auto child = open_child(tools_, *dir, item, damages_);
    if (!child) return std::unexpected(child.error());
    if (!*child) {
        reached_all_ = false;
        return {};
    }
    auto& file = (*child)->id_file;
    if (!file) return {};
    // Of the newest, it may have been on its way elsewhere, in a mount that was killed.
    const bool is_ready = tools_.is_now(file->keys) && is_valid_at(*file, dir->id, new_entry);
    if (!is_ready) {
        const auto under =
            tools_.is_now(file->keys) ? file->dir.key_generation : file->keys->number;
        auto put = write_id_file(tools_, *dir, *file, under, item.entry, new_entry);
        if (!put) return cannot((*child)->dir->path, "written", put.error());
    }
    file.reset();  // one descriptor for each level is enough
    return seal_directory((*child)->dir);
}

Outcome<void> Passes::seal_symlink(const OpenDir& dir, const Item& item) {
    struct stat is = item.is;
    if (const Before* before = journal_.find(is.st_ino)) {
        is.st_atim = before->times[0];
        is.st_mtim = before->times[1];
    }
    const auto state = links_.seal(dir.fd.get(), item.entry, is);
    if (!state) return cannot(below(dir.path, item.entry), "made anew", state.error());
    if (*state == LinkState::kDamaged) {
        damages_.add(below(dir.path, item.entry), "the target does not open");
    }
    return {};
}

Outcome<void> Passes::seal_file(const OpenDir& dir, const Item& item) {
    const std::string path = below(dir.path, item.entry);
    auto fd = open_lifted(tools_, dir.fd.get(), item, O_RDWR);
    if (!fd) return cannot(path, "opened", fd.error());
    auto sealed = seal_open_file(fd->get(), path);
    auto back = give_back(fd->get(), item.is.st_ino, path);
    return sealed ? back : sealed;
}

Outcome<void> Passes::seal_open_file(int fd, const std::string& path) {
    tools_.forget_cached(fd);
    const auto opened = read_header(tools_, fd);
    if (!opened) return cannot(path, "read", opened.error());
    if (!*opened) {
        damages_.add(path, "the header does not authenticate");
        return {};
    }
    if (tools_.is_now((*opened)->keys)) {
        ++progress_.found_done;
        progress_.bytes += (*opened)->header.size;
    } else {
        const auto sealed = seal_contents(tools_, fd, **opened, progress_.bytes);
        if (!sealed) return cannot(path, "sealed", sealed.error());
        if (sealed->damaged != 0) {
            damages_.add(path, std::to_string(sealed->damaged) + " fragments do not authenticate");
        }
    }
    const auto damaged = attributes_->seal({fd, (*opened)->header.id});
    if (!damaged) return cannot(path, "given its attributes", damaged.error());
    if (*damaged != 0) damages_.add(path, "attributes do not authenticate");
    return {};
}

// ---- names ----

Outcome<void> Passes::rename_in(const Dir& dir) {
    if (auto lifted = lift(*dir); !lifted) return lifted;
    auto listing = list(tools_, *dir);
    if (!listing) return std::unexpected(listing.error());
    for (const Item& item : listing->items) {
        ++progress_.things;
        const std::string path = below(dir->path, item.entry);
        if (S_ISDIR(item.is.st_mode)) {
            auto child = open_child(tools_, *dir, item, known_);
            if (!child) return std::unexpected(child.error());
            if (*child && (*child)->id_file) {
                (*child)->id_file.reset();
                if (auto done = rename_in((*child)->dir); !done) return done;
            }
        }
        if (tools_.is_now(item.keys)) continue;
        const auto name = tools_.now().names.encode(dir->id, item.plain);
        if (!name) return cannot(path, "named", lower::Errno{EIO});
        const int fd = dir->fd.get();
        auto moved =
            tools_.fs.rename(fd, item.entry, fd, name->entry, lower::RenameMode::kNoReplace);
        if (!moved && moved.error().value == EINVAL) {
            // A lower file system without RENAME_NOREPLACE; nobody else is here.
            const bool taken = tools_.fs.stat_at(fd, name->entry).has_value();
            moved = taken ? std::unexpected(lower::Errno{EEXIST})
                          : tools_.fs.rename(fd, item.entry, fd, name->entry,
                                             lower::RenameMode::kReplace);
        }
        if (!moved && moved.error().value == EEXIST) {
            return daemon::fail(daemon::FailureKind::kDamage, path, " and ", name->entry,
                                " stand for the same name; move one of them out of the volume and "
                                "run 'extencfs key rotate' again");
        }
        if (!moved) return cannot(path, "renamed", moved.error());
    }
    return {};
}

}  // namespace extencfs::rotate
