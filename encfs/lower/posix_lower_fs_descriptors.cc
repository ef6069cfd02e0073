// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "encfs/lower/posix_lower_fs.h"
#include "encfs/lower/proc_path.h"

namespace extencfs::lower {
namespace {

off_t as_offset(std::uint64_t value) {
    return static_cast<off_t>(value);
}

// The bytes that one call wrote of a request that was not empty.
Result<std::size_t> written(ssize_t size) {
    if (size == -1) return failure();
    // Regular files never say so; without this a descriptor that does would be tried for ever.
    if (size == 0) return failure(EIO);
    return static_cast<std::size_t>(size);
}

}  // namespace

Result<struct stat> PosixLowerFs::stat(int fd) {
    struct stat out;
    if (uninterrupted([&] { return ::fstat(fd, &out); }) == -1) return failure();
    return out;
}

Result<std::size_t> PosixLowerFs::pread(int fd, MutBytes out, std::uint64_t offset) {
    std::size_t done = 0;
    // A short read is asked to go on: only 0 tells the file's end from a bad sector further on.
    while (done < out.size()) {
        const ssize_t size = uninterrupted([&] {
            return ::pread(fd, out.data() + done, out.size() - done, as_offset(offset + done));
        });
        if (size == -1) return failure();
        if (size == 0) break;
        done += static_cast<std::size_t>(size);
    }
    return done;
}

Result<void> PosixLowerFs::pwrite(int fd, Bytes in, std::uint64_t offset) {
    while (!in.empty()) {
        const auto size = written(
            uninterrupted([&] { return ::pwrite(fd, in.data(), in.size(), as_offset(offset)); }));
        if (!size) return std::unexpected(size.error());
        in = in.subspan(*size);
        offset += *size;
    }
    return {};
}

Result<void> PosixLowerFs::pwritev(int fd, std::span<const iovec> in, std::uint64_t offset) {
    while (!in.empty()) {
        if (in.front().iov_len == 0) {
            in = in.subspan(1);
            continue;
        }
        const int count = static_cast<int>(std::min<std::size_t>(in.size(), IOV_MAX));
        const auto size = written(
            uninterrupted([&] { return ::pwritev(fd, in.data(), count, as_offset(offset)); }));
        if (!size) return std::unexpected(size.error());
        offset += *size;
        std::size_t left = *size;
        while (!in.empty() && left >= in.front().iov_len) {
            left -= in.front().iov_len;
            in = in.subspan(1);
        }
        if (left == 0) continue;
        // The kernel stopped inside a piece: its rest goes alone, so that no list need be copied.
        const auto rest =
            Bytes(static_cast<const std::byte*>(in.front().iov_base), in.front().iov_len)
                .subspan(left);
        if (auto done = pwrite(fd, rest, offset); !done) return done;
        offset += rest.size();
        in = in.subspan(1);
    }
    return {};
}

Result<void> PosixLowerFs::truncate(int fd, std::uint64_t size) {
    return checked([&] { return ::ftruncate(fd, as_offset(size)); });
}

Result<void> PosixLowerFs::fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t size) {
    return checked([&] { return ::fallocate(fd, mode, as_offset(offset), as_offset(size)); });
}

Result<std::uint64_t> PosixLowerFs::seek(int fd, std::uint64_t offset, int whence) {
    const off_t at = uninterrupted([&] { return ::lseek(fd, as_offset(offset), whence); });
    if (at == -1) return failure();
    return static_cast<std::uint64_t>(at);
}

Result<void> PosixLowerFs::chown(int fd, uid_t uid, gid_t gid) {
    return checked([&] { return ::fchown(fd, uid, gid); });
}

Result<void> PosixLowerFs::chmod(int fd, mode_t mode) {
    return checked([&] { return ::fchmod(fd, mode); });
}

Result<void> PosixLowerFs::utimens(int fd, const struct timespec times[2]) {
    return checked([&] { return ::futimens(fd, times); });
}

Result<void> PosixLowerFs::fdatasync(int fd) {
    return checked([&] { return ::fdatasync(fd); });
}

Result<void> PosixLowerFs::fsync(int fd) {
    return checked([&] { return ::fsync(fd); });
}

Result<void> PosixLowerFs::syncfs(int fd) {
    return checked([&] { return ::syncfs(fd); });
}

void PosixLowerFs::forget_cached(int fd) {
    (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

Result<void> PosixLowerFs::may_change_names(int dirfd) {
    const ProcPath path(dirfd);
    return checked([&] { return ::faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS); });
}

Result<struct statvfs> PosixLowerFs::statvfs(int fd) {
    struct statvfs out;
    if (uninterrupted([&] { return ::fstatvfs(fd, &out); }) == -1) return failure();
    return out;
}

std::unique_ptr<LowerFs> make_posix_lower_fs() {
    return std::make_unique<PosixLowerFs>();
}

}  // namespace extencfs::lower
