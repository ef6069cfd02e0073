// SPDX-License-Identifier: Apache-2.0
// The LowerFs of the running kernel. Private to encfs/lower and its tests: everybody else calls
// make_posix_lower_fs().
// Stateless apart from what the process learns once about its kernel. No call allocates, save where
// its result is a string or a vector.
// THREADS: any, in parallel. ERRORS: the errno of the call.
#pragma once

#include <cerrno>
#include <concepts>
#include <expected>

#include "encfs/lower/lower_fs.h"

namespace extencfs::lower {

class PosixLowerFs final : public LowerFs {
  public:
    Result<Fd> open(int dirfd, const std::string& name, int flags, mode_t mode) override;
    Result<Fd> open_tmpfile(int dirfd, mode_t mode) override;
    Result<void> link_tmpfile(int fd, int dirfd, const std::string& name) override;
    Result<struct stat> stat_at(int dirfd, const std::string& name) override;
    Result<void> mkdir(int dirfd, const std::string& name, mode_t mode) override;
    Result<void> mknod(int dirfd, const std::string& name, mode_t mode, dev_t rdev) override;
    Result<void> symlink(const std::string& target, int dirfd, const std::string& name) override;
    Result<std::string> readlink(int dirfd, const std::string& name) override;
    Result<void> unlink(int dirfd, const std::string& name) override;
    Result<void> rmdir(int dirfd, const std::string& name) override;
    Result<void> rename(int from_dirfd, const std::string& from, int to_dirfd,
                        const std::string& to, RenameMode mode) override;
    Result<void> link(int from_dirfd, const std::string& from, int to_dirfd,
                      const std::string& to) override;
    Result<void> chown_at(int dirfd, const std::string& name, uid_t uid, gid_t gid) override;
    Result<void> chmod_at(int dirfd, const std::string& name, mode_t mode) override;
    Result<void> utimens_at(int dirfd, const std::string& name,
                            const struct timespec times[2]) override;
    Result<void> list_from(int dirfd, std::uint64_t cookie,
                           const std::function<bool(const DirEntry&)>& each) override;

    Result<struct stat> stat(int fd) override;
    Result<void> may_change_names(int dirfd) override;
    Result<std::size_t> pread(int fd, MutBytes out, std::uint64_t offset) override;
    Result<void> pwrite(int fd, Bytes in, std::uint64_t offset) override;
    Result<void> pwritev(int fd, std::span<const iovec> in, std::uint64_t offset) override;
    Result<void> truncate(int fd, std::uint64_t size) override;
    Result<void> fallocate(int fd, int mode, std::uint64_t offset, std::uint64_t size) override;
    Result<std::uint64_t> seek(int fd, std::uint64_t offset, int whence) override;
    Result<void> chown(int fd, uid_t uid, gid_t gid) override;
    Result<void> chmod(int fd, mode_t mode) override;
    Result<void> utimens(int fd, const struct timespec times[2]) override;
    Result<void> fdatasync(int fd) override;
    Result<void> fsync(int fd) override;
    Result<void> syncfs(int fd) override;
    void forget_cached(int fd) override;
    Result<struct statvfs> statvfs(int fd) override;

    Result<ByteVector> get_xattr(int dirfd, const std::string& name,
                                 const std::string& attr) override;
    Result<void> set_xattr(int dirfd, const std::string& name, const std::string& attr, Bytes value,
                           int flags) override;
    Result<void> remove_xattr(int dirfd, const std::string& name, const std::string& attr) override;
    Result<std::vector<std::string>> list_xattr(int dirfd, const std::string& name) override;
    Result<ByteVector> get_xattr(int fd, const std::string& attr) override;
    Result<void> set_xattr(int fd, const std::string& attr, Bytes value, int flags) override;
    Result<void> remove_xattr(int fd, const std::string& attr) override;
    Result<std::vector<std::string>> list_xattr(int fd) override;
};

// chmod_at for kernels before 6.6, which have no fchmodat2(2): through an O_PATH descriptor and
// /proc/self/fd. EOPNOTSUPP for a symlink. REQUIRES: `name` is a single component.
Result<void> chmod_by_proc(int dirfd, const std::string& name, mode_t mode);

// The current errno as a failure.
inline std::unexpected<Errno> failure() {
    return std::unexpected(Errno{errno});
}
inline std::unexpected<Errno> failure(int value) {
    return std::unexpected(Errno{value});
}

// The result of `call`, made again for as long as a signal interrupts it.
template <std::invocable Call>
auto uninterrupted(Call call) {
    auto result = call();
    while (result == -1 && errno == EINTR) result = call();
    return result;
}

// Runs a call whose only news is whether it failed.
template <std::invocable Call>
Result<void> checked(Call call) {
    if (uninterrupted(call) == -1) return failure();
    return {};
}

// 0 when `name` is a single component of a path, else the errno to refuse it with.
inline int name_error(const std::string& name) {
    if (name.empty() || name == "." || name == "..") return EINVAL;
    if (name.find('/') != name.npos || name.find('\0') != name.npos) return EINVAL;
    return 0;
}

}  // namespace extencfs::lower
