// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <climits>
#include <cstdio>

#include "encfs/lower/posix_lower_fs.h"
#include "encfs/lower/proc_path.h"

namespace extencfs::lower {
namespace {

constexpr std::size_t kListBuffer = 64 * 1024;
// The same number on every architecture; the libc's headers are older than the call (Linux 6.6).
constexpr long kSysFchmodat2 = 452;

Result<Fd> owned(int fd) {
    if (fd < 0) return failure();
    return Fd(fd);
}

// Whether an open with these flags may read the bytes of a regular file.
bool reads_content(int flags) {
    return (flags & (O_PATH | O_DIRECTORY)) == 0 && (flags & O_ACCMODE) != O_WRONLY;
}

int open_once(int dirfd, const char* name, int flags, mode_t mode) {
    return uninterrupted([&] { return ::openat(dirfd, name, flags, mode); });
}

// O_NOATIME is for the file's owner and CAP_FOWNER only: EPERM for everybody else.
int open_noatime(int dirfd, const char* name, int flags, mode_t mode) {
    const int fd = open_once(dirfd, name, flags | O_NOATIME, mode);
    if (fd >= 0 || errno != EPERM) return fd;
    return open_once(dirfd, name, flags, mode);
}

// The kernel looks at O_NOATIME after it has made the file, so a refusal would leave the new file
// behind and turn the second attempt into EEXIST. Here the flag is set once the file is open.
int create_noatime(int dirfd, const char* name, int flags, mode_t mode) {
    const int fd = open_once(dirfd, name, flags, mode);
    if (fd >= 0)
        (void)::fcntl(fd, F_SETFL, (flags & (O_APPEND | O_DIRECT | O_NONBLOCK)) | O_NOATIME);
    return fd;
}

// A buffer for one listing: the thread's own, or a new one where a listing's callback lists again.
class ListBuffer {
  public:
    ListBuffer() : bytes_(std::move(spare)) {
        if (!bytes_) bytes_ = std::make_unique_for_overwrite<Block>();
    }
    ~ListBuffer() { spare = std::move(bytes_); }
    ListBuffer(const ListBuffer&) = delete;
    ListBuffer& operator=(const ListBuffer&) = delete;
    char* data() { return bytes_->bytes; }

  private:
    struct Block {
        alignas(dirent64) char bytes[kListBuffer];
    };
    static thread_local std::unique_ptr<Block> spare;
    std::unique_ptr<Block> bytes_;
};
thread_local std::unique_ptr<ListBuffer::Block> ListBuffer::spare;

// False when `each` had enough. `position`: of the first, and then of what comes after the last.
bool pass_on(const char* at, std::size_t size, std::uint64_t& position,
             const std::function<bool(const DirEntry&)>& each) {
    for (const char* const end = at + size; at < end;) {
        const auto* const entry = reinterpret_cast<const dirent64*>(at);
        at += entry->d_reclen;
        const std::string_view name(entry->d_name);
        const auto after = static_cast<std::uint64_t>(entry->d_off);
        const std::uint64_t here = std::exchange(position, after);
        if (name == "." || name == "..") continue;
        if (!each(DirEntry{name, entry->d_ino, entry->d_type, after, here})) return false;
    }
    return true;
}

}  // namespace

Result<Fd> PosixLowerFs::open(int dirfd, const std::string& name, int flags, mode_t mode) {
    if (const int error = name_error(name)) return failure(error);
    flags |= O_CLOEXEC | O_NOFOLLOW;
    // A fifo or device that somebody put in a file's place must not make us wait for its other end.
    if ((flags & (O_PATH | O_DIRECTORY)) == 0) flags |= O_NONBLOCK | O_NOCTTY;
    if (!reads_content(flags)) return owned(open_once(dirfd, name.c_str(), flags, mode));
    if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
        return owned(create_noatime(dirfd, name.c_str(), flags, mode));
    return owned(open_noatime(dirfd, name.c_str(), flags, mode));
}

Result<Fd> PosixLowerFs::open_tmpfile(int dirfd, mode_t mode) {
    return owned(open_noatime(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, mode));
}

Result<void> PosixLowerFs::link_tmpfile(int fd, int dirfd, const std::string& name) {
    if (const int error = name_error(name)) return failure(error);
    // By the descriptor itself, which takes CAP_DAC_READ_SEARCH, or Linux 6.10 and the credentials
    // that opened it; ENOENT says that it may not, or that the directory is gone.
    static std::atomic<bool> refused{false};
    if (!refused.load(std::memory_order_relaxed)) {
        auto linked = checked([&] { return ::linkat(fd, "", dirfd, name.c_str(), AT_EMPTY_PATH); });
        if (linked || linked.error().value != ENOENT) return linked;
    }
    const ProcPath path(fd);
    auto linked = checked(
        [&] { return ::linkat(AT_FDCWD, path.c_str(), dirfd, name.c_str(), AT_SYMLINK_FOLLOW); });
    if (linked) refused = true;
    return linked;
}

Result<struct stat> PosixLowerFs::stat_at(int dirfd, const std::string& name) {
    if (const int error = name_error(name)) return failure(error);
    struct stat out;
    if (uninterrupted([&] { return ::fstatat(dirfd, name.c_str(), &out, AT_SYMLINK_NOFOLLOW); }) ==
        -1)
        return failure();
    return out;
}

Result<void> PosixLowerFs::mkdir(int dirfd, const std::string& name, mode_t mode) {
    if (const int error = name_error(name)) return failure(error);
    return checked([&] { return ::mkdirat(dirfd, name.c_str(), mode); });
}

Result<void> PosixLowerFs::mknod(int dirfd, const std::string& name, mode_t mode, dev_t rdev) {
    if (const int error = name_error(name)) return failure(error);
    return checked([&] { return ::mknodat(dirfd, name.c_str(), mode, rdev); });
}

Result<void> PosixLowerFs::symlink(const std::string& target, int dirfd, const std::string& name) {
    if (const int error = name_error(name)) return failure(error);
    return checked([&] { return ::symlinkat(target.c_str(), dirfd, name.c_str()); });
}

Result<std::string> PosixLowerFs::readlink(int dirfd, const std::string& name) {
    if (const int error = name_error(name)) return failure(error);
    // Linux refuses longer targets; one that fills the buffer could have been cut.
    char target[PATH_MAX + 1];
    const ssize_t size =
        uninterrupted([&] { return ::readlinkat(dirfd, name.c_str(), target, sizeof target); });
    if (size == -1) return failure();
    if (static_cast<std::size_t>(size) == sizeof target) return failure(ENAMETOOLONG);
    return std::string(target, static_cast<std::size_t>(size));
}

Result<void> PosixLowerFs::unlink(int dirfd, const std::string& name) {
    if (const int error = name_error(name)) return failure(error);
    return checked([&] { return ::unlinkat(dirfd, name.c_str(), 0); });
}

Result<void> PosixLowerFs::rmdir(int dirfd, const std::string& name) {
    if (const int error = name_error(name)) return failure(error);
    return checked([&] { return ::unlinkat(dirfd, name.c_str(), AT_REMOVEDIR); });
}

Result<void> PosixLowerFs::rename(int from_dirfd, const std::string& from, int to_dirfd,
                                  const std::string& to, RenameMode mode) {
    if (const int error = name_error(from)) return failure(error);
    if (const int error = name_error(to)) return failure(error);
    // Not renameat2 with no flags: file systems and sandboxes without it have this one.
    if (mode == RenameMode::kReplace)
        return checked([&] { return ::renameat(from_dirfd, from.c_str(), to_dirfd, to.c_str()); });
    const unsigned flags = mode == RenameMode::kExchange ? RENAME_EXCHANGE : RENAME_NOREPLACE;
    return checked(
        [&] { return ::renameat2(from_dirfd, from.c_str(), to_dirfd, to.c_str(), flags); });
}

Result<void> PosixLowerFs::link(int from_dirfd, const std::string& from, int to_dirfd,
                                const std::string& to) {
    if (const int error = name_error(from)) return failure(error);
    if (const int error = name_error(to)) return failure(error);
    return checked([&] { return ::linkat(from_dirfd, from.c_str(), to_dirfd, to.c_str(), 0); });
}

Result<void> PosixLowerFs::chown_at(int dirfd, const std::string& name, uid_t uid, gid_t gid) {
    if (const int error = name_error(name)) return failure(error);
    return checked([&] { return ::fchownat(dirfd, name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW); });
}

Result<void> PosixLowerFs::chmod_at(int dirfd, const std::string& name, mode_t mode) {
    if (const int error = name_error(name)) return failure(error);
    static std::atomic<bool> missing = false;
    if (!missing.load(std::memory_order_relaxed)) {
        const auto done = checked([&] {
            return ::syscall(kSysFchmodat2, dirfd, name.c_str(), mode, AT_SYMLINK_NOFOLLOW);
        });
        if (done || done.error().value != ENOSYS) return done;
        missing.store(true, std::memory_order_relaxed);
    }
    return chmod_by_proc(dirfd, name, mode);
}

Result<void> chmod_by_proc(int dirfd, const std::string& name, mode_t mode) {
    const auto file = owned(open_once(dirfd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC, 0));
    if (!file) return std::unexpected(file.error());
    struct stat is;
    if (::fstat(file->get(), &is) == -1) return failure();
    // Through /proc old kernels would change a symlink's own mode and say EOPNOTSUPP all the same.
    if (S_ISLNK(is.st_mode)) return failure(EOPNOTSUPP);
    const ProcPath path(file->get());
    return checked([&] { return ::chmod(path.c_str(), mode); });
}

Result<void> PosixLowerFs::utimens_at(int dirfd, const std::string& name,
                                      const struct timespec times[2]) {
    if (const int error = name_error(name)) return failure(error);
    return checked([&] { return ::utimensat(dirfd, name.c_str(), times, AT_SYMLINK_NOFOLLOW); });
}

Result<void> PosixLowerFs::list_from(int dirfd, std::uint64_t cookie,
                                     const std::function<bool(const DirEntry&)>& each) {
    const auto dir = owned(open_noatime(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    if (!dir) return std::unexpected(dir.error());
    if (cookie != 0 && ::lseek(dir->get(), static_cast<off_t>(cookie), SEEK_SET) == -1)
        return failure();
    ListBuffer buffer;
    std::uint64_t position = cookie;
    for (;;) {
        const ssize_t size =
            uninterrupted([&] { return ::getdents64(dir->get(), buffer.data(), kListBuffer); });
        if (size == -1) return failure();
        if (size == 0) return {};
        if (!pass_on(buffer.data(), static_cast<std::size_t>(size), position, each)) return {};
    }
}

}  // namespace extencfs::lower
