// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/legacy_tail.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>

#include "encfs/core/fd_path.h"
#include "encfs/core/own_change.h"
#include "encfs/legacy/tail_record.h"

namespace extencfs::core {

namespace {

std::vector<std::string> components_of(const std::string& path) {
    std::vector<std::string> components;
    for (std::size_t at = 0; at < path.size();) {
        const std::size_t end = std::min(path.find('/', at), path.size());
        components.push_back(path.substr(at, end - at));
        at = end + 1;
    }
    return components;
}

lower::Result<void> cut_to(lower::LowerFs& lower, int fd, std::uint64_t offset, Bytes block) {
    if (auto r = lower.pwrite(fd, block, offset); !r) return r;
    if (auto r = lower.truncate(fd, offset + block.size()); !r) return r;
    return lower.fdatasync(fd);
}

// No file there: not an error, there is nothing to finish.
lower::Result<lower::Fd> open_at(lower::LowerFs& lower, int rootfd,
                                 const std::vector<std::string>& path) {
    lower::Fd held;
    int dirfd = rootfd;
    for (std::size_t i = 0; i + 1 < path.size(); ++i) {
        auto fd = lower.open(dirfd, path[i], O_RDONLY | O_DIRECTORY, 0);
        if (!fd) return fd;
        held = std::move(*fd);
        dirfd = held.get();
    }
    return lower.open(dirfd, path.back(), O_RDWR, 0);
}

}  // namespace

Result<void> LegacyTail::open_journal(lower::LowerFs& lower) {
    if (journal_) return {};
    auto is = lower.stat(rootfd_);
    if (!is) return fail(is.error());
    auto change = OwnChange::begin(sink_, lower, rootfd_);
    if (!change) return std::unexpected(change.error());
    auto fd = lower.open(rootfd_, kTailJournal, O_CREAT | O_RDWR, 0600);
    if (!fd) return fail(fd.error());
    journal_ = std::move(*fd);
    auto synced = lower.fsync(rootfd_);
    if (!synced && synced.error().value != EINVAL) return fail(synced.error());
    // Nobody above changed the root.
    const struct timespec times[2] = {is->st_atim, is->st_mtim};
    if (auto r = lower.utimens(rootfd_, times); !r) return fail(r.error());
    return {};
}

// False: the file has no name, so that nobody will miss it.
Result<bool> LegacyTail::note(lower::LowerFs& lower, int fd, std::uint64_t offset, Bytes block) {
    if (auto r = open_journal(lower); !r) return std::unexpected(r.error());
    const std::string path = path_below(rootfd_, fd);
    if (path.empty() || path.starts_with('/')) return false;
    auto bytes = legacy::encode_tail(
        {.path = components_of(path), .offset = offset, .block = {block.begin(), block.end()}},
        *key_);
    if (!bytes) return fail(bytes.error());
    auto noted = lower.pwrite(journal_.get(), *bytes, 0);
    if (noted) noted = lower.fdatasync(journal_.get());
    if (noted) return true;
    (void)lower.truncate(journal_.get(), 0);
    return fail(noted.error());
}

Result<void> LegacyTail::cut(lower::LowerFs& lower, int fd, std::uint64_t offset, Bytes block) {
    const std::lock_guard lock(mutex_);
    auto noted = note(lower, fd, offset, block);
    if (!noted) return std::unexpected(noted.error());
    if (auto r = cut_to(lower, fd, offset, block); !r) return fail(r.error());
    if (!*noted) return {};
    // Before anything that is written to the file later can be durable: a journal that came back
    // would cut that off.
    auto cleared = lower.truncate(journal_.get(), 0);
    if (cleared) cleared = lower.fdatasync(journal_.get());
    if (cleared) return {};
    (void)lower.unlink(rootfd_, kTailJournal);
    journal_.reset();
    return fail(cleared.error());
}

Result<void> LegacyTail::recover(lower::LowerFs& lower, int rootfd) const {
    auto file = lower.open(rootfd, kTailJournal, O_RDWR, 0);
    if (!file && file.error().value == ENOENT) return {};
    if (!file) return fail(file.error());
    ByteVector bytes(legacy::kMostTailBytes);
    auto got = lower.pread(file->get(), bytes, 0);
    if (!got) return fail(got.error());
    auto record = legacy::decode_tail(Bytes(bytes).first(*got), *key_);
    if (record) {
        auto cut_file = open_at(lower, rootfd, record->path);
        if (!cut_file && cut_file.error().value != ENOENT && cut_file.error().value != ENOTDIR)
            return fail(cut_file.error());
        if (cut_file) {
            auto done = cut_to(lower, cut_file->get(), record->offset, record->block);
            if (!done) return fail(done.error());
        }
    } else if (record.error().kind != volume::ErrorKind::kDamaged) {
        return fail(record.error());
    }
    // One that does not check was not durable when the machine went down: nothing was cut.
    auto gone = lower.truncate(file->get(), 0);
    if (gone) gone = lower.fdatasync(file->get());
    if (gone) gone = lower.unlink(rootfd, kTailJournal);
    if (!gone) return fail(gone.error());
    return {};
}

void LegacyTail::end(lower::LowerFs& lower) {
    const std::lock_guard lock(mutex_);
    if (!journal_) return;
    journal_.reset();
    auto is = lower.stat(rootfd_);
    const auto change = OwnChange::begin(sink_, lower, rootfd_);
    (void)lower.unlink(rootfd_, kTailJournal);
    if (!is) return;
    const struct timespec times[2] = {is->st_atim, is->st_mtim};
    (void)lower.utimens(rootfd_, times);
}

}  // namespace extencfs::core
