// SPDX-License-Identifier: Apache-2.0
// The backing directory's file system, one virtual member for each system call that core makes:
// the seam at which tests inject faults, kill the program between two calls, and drop unsynced
// data. Knows nothing of encryption.
//
// Every call is relative to a directory descriptor, takes a single path component (EINVAL for an
// empty one, "." and "..", and one with '/' or NUL in it) and never follows a symlink. Interrupted
// calls (EINTR) are retried. Descriptors are close-on-exec.
// THREADS: any, in parallel. ERRORS: the errno of the call.
#pragma once

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "crypto/bytes.h"
#include "encfs/lower/errors.h"
#include "encfs/lower/fd.h"

namespace extencfs::lower {

enum class RenameMode { kReplace, kNoReplace, kExchange };

// One entry of a listing. `type` is DT_*, DT_UNKNOWN where the file system does not say.
struct DirEntry {
    std::string_view name;
    std::uint64_t ino;
    unsigned char type;
    std::uint64_t cookie;    // where a listing goes on after this entry; never 0
    std::uint64_t position;  // where one goes on that begins with this entry
};

class LowerFs {
  public:
    virtual ~LowerFs() = default;

    // ---- names ----
    // openat(2) with O_CLOEXEC|O_NOFOLLOW added (and O_NOATIME where the owner allows it, when
    // `flags` reads a regular file).
    virtual Result<Fd> open(int dirfd, const std::string& name, int flags, mode_t mode) = 0;
    // O_TMPFILE|O_RDWR in that directory. EOPNOTSUPP/EISDIR/ENOENT where it is not supported.
    virtual Result<Fd> open_tmpfile(int dirfd, mode_t mode) = 0;
    // Gives a name to a descriptor that has none (linkat of /proc/self/fd/N). EEXIST when taken.
    virtual Result<void> link_tmpfile(int fd, int dirfd, const std::string& name) = 0;
    virtual Result<struct stat> stat_at(int dirfd, const std::string& name) = 0;
    virtual Result<void> mkdir(int dirfd, const std::string& name, mode_t mode) = 0;
    virtual Result<void> mknod(int dirfd, const std::string& name, mode_t mode, dev_t rdev) = 0;
    virtual Result<void> symlink(const std::string& target, int dirfd, const std::string& name) = 0;
    virtual Result<std::string> readlink(int dirfd, const std::string& name) = 0;
    virtual Result<void> unlink(int dirfd, const std::string& name) = 0;
    virtual Result<void> rmdir(int dirfd, const std::string& name) = 0;
    virtual Result<void> rename(int from_dirfd, const std::string& from, int to_dirfd,
                                const std::string& to, RenameMode mode) = 0;
    // Hard link; the source itself, also if it is a symlink.
    virtual Result<void> link(int from_dirfd, const std::string& from, int to_dirfd,
                              const std::string& to) = 0;
    // Owner, mode and times of a name that may be a symlink. uid/gid of -1: unchanged.
    virtual Result<void> chown_at(int dirfd, const std::string& name, uid_t uid, gid_t gid) = 0;
    // Not for symlinks (EOPNOTSUPP): fchmodat2, or through an O_PATH descriptor and /proc.
    virtual Result<void> chmod_at(int dirfd, const std::string& name, mode_t mode) = 0;
    // times[0] access, times[1] modification; UTIME_NOW and UTIME_OMIT as in utimensat(2).
    virtual Result<void> utimens_at(int dirfd, const std::string& name,
                                    const struct timespec times[2]) = 0;

    // ---- whole directories ----
    // Calls `each` for every entry but "." and "..", in the file system's order, until it returns
    // false: from the start (cookie 0) or after the entry that had that cookie. Reads through a
    // private descriptor, so that parallel listings of one dirfd do not disturb each other, and
    // without touching the directory's atime where the owner allows it.
    virtual Result<void> list_from(int dirfd, std::uint64_t cookie,
                                   const std::function<bool(const DirEntry&)>& each) = 0;
    Result<void> list(int dirfd, const std::function<bool(const DirEntry&)>& each) {
        return list_from(dirfd, 0, each);
    }

    // ---- descriptors ----
    virtual Result<struct stat> stat(int fd) = 0;
    // Whether this process may change names in an open directory (faccessat: W_OK and X_OK). Tells
    // nothing of sticky directories.
    virtual Result<void> may_change_names(int /*dirfd*/) { return {}; }
    // Read up to the buffer's end or end of file; returns the bytes read. Short only at end of file
    // (which takes a second system call to tell from an error: ask for no more than there is).
    virtual Result<std::size_t> pread(int fd, MutBytes out, std::uint64_t offset) = 0;
    // Writes all of `in`, or fails. After a failure any part may have been written.
    virtual Result<void> pwrite(int fd, Bytes in, std::uint64_t offset) = 0;
    virtual Result<void> pwritev(int fd, std::span<const iovec> in, std::uint64_t offset) = 0;
    virtual Result<void> truncate(int fd, std::uint64_t size) = 0;
    virtual Result<void> fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t size) = 0;
    // SEEK_DATA or SEEK_HOLE.
    virtual Result<std::uint64_t> seek(int fd, std::uint64_t offset, int whence) = 0;
    virtual Result<void> chown(int fd, uid_t uid, gid_t gid) = 0;
    virtual Result<void> chmod(int fd, mode_t mode) = 0;
    virtual Result<void> utimens(int fd, const struct timespec times[2]) = 0;
    virtual Result<void> fdatasync(int fd) = 0;
    virtual Result<void> fsync(int fd) = 0;  // files and directories
    virtual Result<void> syncfs(int fd) = 0;
    // Lets what is cached of a file go, as far as it is not waiting to be written: what is read
    // next comes from the disk. After a sync failed, the cache may hold what never came there
    // (posix_fadvise, POSIX_FADV_DONTNEED; a file system without a disk takes no notice).
    virtual void forget_cached(int fd) = 0;
    virtual Result<struct statvfs> statvfs(int fd) = 0;

    // ---- extended attributes: of a name in a directory, never following a symlink ----
    // (l*xattr on /proc/self/fd/<dirfd>/<name>.)
    virtual Result<ByteVector> get_xattr(int dirfd, const std::string& name,
                                         const std::string& attr) = 0;
    // flags: 0, XATTR_CREATE or XATTR_REPLACE.
    virtual Result<void> set_xattr(int dirfd, const std::string& name, const std::string& attr,
                                   Bytes value, int flags) = 0;
    virtual Result<void> remove_xattr(int dirfd, const std::string& name,
                                      const std::string& attr) = 0;
    virtual Result<std::vector<std::string>> list_xattr(int dirfd, const std::string& name) = 0;
    // The same of an open descriptor (not O_PATH): f*xattr.
    virtual Result<ByteVector> get_xattr(int fd, const std::string& attr) = 0;
    virtual Result<void> set_xattr(int fd, const std::string& attr, Bytes value, int flags) = 0;
    virtual Result<void> remove_xattr(int fd, const std::string& attr) = 0;
    virtual Result<std::vector<std::string>> list_xattr(int fd) = 0;
};

// The real one.
std::unique_ptr<LowerFs> make_posix_lower_fs();

}  // namespace extencfs::lower
