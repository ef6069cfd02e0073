// SPDX-License-Identifier: Apache-2.0
// The last walk: what the first two left beside the new goes, and nothing old may be left.
#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "encfs/rotate/file_contents.h"
#include "encfs/rotate/passes.h"
#include "encfs/volume/wire.h"

namespace extencfs::rotate {

using daemon::Outcome;

namespace {

std::unexpected<daemon::Failure> left(const std::string& path) {
    return daemon::fail(daemon::FailureKind::kOther, path,
                        " is still under the old key; run 'extencfs key rotate' again");
}

}  // namespace

Outcome<void> Passes::clean_directory(const Dir& dir) {
    if (auto lifted = lift(*dir); !lifted) return lifted;
    auto listing = list(tools_, *dir);
    if (!listing) return std::unexpected(listing.error());
    for (const Item& item : listing->items) {
        ++progress_.things;
        if (!tools_.is_now(item.keys)) return left(below(dir->path, item.entry));
        auto done = Outcome<void>{};
        if (S_ISDIR(item.is.st_mode)) done = clean_child(dir, item);
        if (S_ISREG(item.is.st_mode)) done = clean_file(*dir, item);
        if (S_ISLNK(item.is.st_mode)) done = clean_symlink(*dir, item);
        if (!done) return done;
    }
    if (auto done = remove_unused(*dir, *listing); !done) return done;
    const auto clean = attributes_->clean({dir->fd.get(), dir->id});
    if (!clean) return cannot(dir->path, "given its attributes", clean.error());
    return give_back(dir->fd.get(), dir->ino, dir->path);
}

Outcome<void> Passes::clean_child(const Dir& dir, const Item& item) {
    auto child = open_child(tools_, *dir, item, known_);
    if (!child) return std::unexpected(child.error());
    if (!*child) return {};
    const Dir& inner = (*child)->dir;
    auto& file = (*child)->id_file;
    if (!file) return give_back(inner->fd.get(), inner->ino, inner->path);
    const auto number = tools_.now().number;
    if (file->dir.key_generation != number || !volume::all_zero(file->dir.next)) {
        auto put = write_id_file(tools_, *dir, *file, number, item.entry, {});
        if (!put) return cannot(inner->path, "written", put.error());
    }
    file.reset();
    return clean_directory(inner);
}

Outcome<void> Passes::clean_file(const OpenDir& dir, const Item& item) {
    const std::string path = below(dir.path, item.entry);
    auto fd = open_lifted(tools_, dir.fd.get(), item, O_RDWR);
    if (!fd) return cannot(path, "opened", fd.error());
    const auto opened = read_header(tools_, fd->get());
    if (!opened) return cannot(path, "read", opened.error());
    if (!*opened) return give_back(fd->get(), item.is.st_ino, path);
    if (!tools_.is_now((*opened)->keys)) return left(path);
    const auto clean = attributes_->clean({fd->get(), (*opened)->header.id});
    if (!clean) return cannot(path, "given its attributes", clean.error());
    return give_back(fd->get(), item.is.st_ino, path);
}

Outcome<void> Passes::clean_symlink(const OpenDir& dir, const Item& item) {
    const std::string path = below(dir.path, item.entry);
    const auto state = links_.look(dir.fd.get(), item.entry);
    if (!state) return cannot(path, "read", state.error());
    if (*state == LinkState::kReplaced) return left(path);
    // Looking at it may have moved its access time.
    const struct timespec times[2] = {item.is.st_atim, item.is.st_mtim};
    if (auto done = tools_.fs.utimens_at(dir.fd.get(), item.entry, times); !done) {
        return cannot(path, "given its times", done.error());
    }
    return {};
}

Outcome<void> Passes::remove_unused(const OpenDir& dir, const Listing& listing) {
    std::vector<std::string> unused = listing.unfinished;
    for (const std::string& side : listing.side_files) {
        const std::string entry = volume::kLongEntryPrefix +
                                  side.substr(std::string_view(volume::kLongSidePrefix).size());
        const bool shown =
            std::ranges::find(listing.items, entry, &Item::entry) != listing.items.end();
        const bool unknown = std::ranges::find(listing.unknown, entry) != listing.unknown.end();
        if (!shown && !unknown) unused.push_back(side);
    }
    for (const std::string& name : unused) {
        const auto gone = tools_.fs.unlink(dir.fd.get(), name);
        if (!gone && gone.error().value != ENOENT) {
            return cannot(below(dir.path, name), "removed", gone.error());
        }
    }
    return {};
}

}  // namespace extencfs::rotate
