// SPDX-License-Identifier: Apache-2.0
#include <linux/falloc.h>

#include <algorithm>
#include <cerrno>

#include "tests/fake/fault_lower_fs.h"

namespace extencfs::fake {

using lower::Errno;
using lower::Result;

template <typename Call>
Result<void> FaultLowerFs::content(int fd, std::uint64_t from, std::uint64_t to, Call call) {
    const auto file = logged(fd);
    if (!file || !file->is_regular()) return call();
    file->pages().before(file->fd(), from, to);
    auto done = call();
    // Also after a failure: part of it may have been done.
    file->pages().after(file->fd());
    return done;
}

template <typename Write>
Result<void> FaultLowerFs::writing(std::string_view name, int fd, std::uint64_t size,
                                   std::uint64_t offset, Write write) {
    const auto lock = lock_if_tracked();
    const auto verdict = plan_.enter(name, true);
    if (verdict.error != 0) return std::unexpected(Errno{verdict.error});
    const std::uint64_t limit = verdict.tear ? std::min(verdict.tear->bytes, size) : size;
    auto done = content(fd, offset, offset + limit, [&] { return write(limit); });
    if (!verdict.tear || !done) return done;
    if (verdict.tear->then == Tear::Then::kNoSpace) return std::unexpected(Errno{ENOSPC});
    plan_.die();
    return std::unexpected(Errno{EIO});
}

Result<void> FaultLowerFs::pwrite(int fd, Bytes in, std::uint64_t offset) {
    return writing("pwrite", fd, in.size(), offset, [&](std::uint64_t limit) {
        return under_->pwrite(fd, in.first(limit), offset);
    });
}

Result<void> FaultLowerFs::pwritev(int fd, std::span<const iovec> in, std::uint64_t offset) {
    std::uint64_t size = 0;
    for (const iovec& piece : in) size += piece.iov_len;
    return writing("pwritev", fd, size, offset, [&](std::uint64_t limit) {
        if (limit == size) return under_->pwritev(fd, in, offset);
        std::vector<iovec> part(in.begin(), in.end());
        for (iovec& piece : part) {
            piece.iov_len = std::min<std::uint64_t>(piece.iov_len, limit);
            limit -= piece.iov_len;
        }
        return under_->pwritev(fd, part, offset);
    });
}

Result<void> FaultLowerFs::truncate(int fd, std::uint64_t size) {
    return changing("truncate", [&] {
        return content(fd, size, ~std::uint64_t{0}, [&] { return under_->truncate(fd, size); });
    });
}

Result<void> FaultLowerFs::fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t size) {
    return changing("fallocate", [&]() -> Result<void> {
        if (log_ && (mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) != 0)
            return std::unexpected(Errno{EOPNOTSUPP});
        return content(fd, offset, offset + size,
                       [&] { return under_->fallocate(fd, mode, offset, size); });
    });
}

template <typename Call, typename Done, typename Lost>
Result<void> FaultLowerFs::syncing(std::string_view name, Call call, Done done, Lost lost) {
    return changing(name, [&]() -> Result<void> {
        if (syncs_until_loss_ > 0 && --syncs_until_loss_ == 0) {
            lost();
            const std::lock_guard lock(told_mutex_);
            ++losses_;
            return std::unexpected(Errno{EIO});
        }
        auto result = call();
        if (result && log_) done();
        return result;
    });
}

Result<void> FaultLowerFs::fdatasync(int fd) {
    if (before_sync_) {
        const auto is = under_->stat(fd);
        if (is && static_cast<std::uint64_t>(is->st_size) >= sync_of_bytes_)
            std::exchange(before_sync_, nullptr)();
    }
    return syncing(
        "fdatasync", [&] { return under_->fdatasync(fd); }, [&] { log_->synced(fd, false); },
        [&] { log_->lost(fd); });
}

Result<void> FaultLowerFs::fsync(int fd) {
    return syncing(
        "fsync", [&] { return under_->fsync(fd); }, [&] { log_->synced(fd, true); },
        [&] { log_->lost(fd); });
}

Result<void> FaultLowerFs::syncfs(int fd) {
    auto done = syncing(
        "syncfs", [&] { return under_->syncfs(fd); }, [&] { log_->synced_all(); },
        [&] { log_->lost_all(); });
    const std::lock_guard lock(told_mutex_);
    const auto told = losses_told_.find(fd);
    if (told == losses_told_.end() || told->second == losses_) return done;
    told->second = losses_;
    return std::unexpected(Errno{EIO});
}

void FaultLowerFs::lose_writes_at(std::uint64_t n) {
    syncs_until_loss_ = n;
}

void FaultLowerFs::note_opened(int fd) {
    const std::lock_guard lock(told_mutex_);
    losses_told_[fd] = losses_;
}

void FaultLowerFs::forget_cached(int fd) {
    const auto lock = lock_if_tracked();
    if (log_) log_->forget_cached(fd);
    under_->forget_cached(fd);
}

Result<struct stat> FaultLowerFs::stat(int fd) {
    return reading("stat", [&] { return under_->stat(fd); });
}

Result<std::size_t> FaultLowerFs::pread(int fd, MutBytes out, std::uint64_t offset) {
    return reading("pread", [&] { return under_->pread(fd, out, offset); });
}

Result<std::uint64_t> FaultLowerFs::seek(int fd, std::uint64_t offset, int whence) {
    return reading("seek", [&] { return under_->seek(fd, offset, whence); });
}

Result<void> FaultLowerFs::may_change_names(int dirfd) {
    return reading("may_change_names", [&] { return under_->may_change_names(dirfd); });
}

Result<struct statvfs> FaultLowerFs::statvfs(int fd) {
    return reading("statvfs", [&] { return under_->statvfs(fd); });
}

}  // namespace extencfs::fake
