// SPDX-License-Identifier: Apache-2.0
// A LowerFs that hands every call on to another one that it does not own, keeps where each pwrite
// went, and lets a test act after each fsync and syncfs: a file system under test can be destroyed
// while the lower one lives on. THREADS: any, in parallel.
#pragma once

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "encfs/lower/lower_fs.h"

namespace extencfs::core {

class BorrowedLower : public lower::LowerFs {
    template <typename T>
    using R = lower::Result<T>;
    using Name = const std::string&;

  public:
    struct Write {
        std::uint64_t offset, size;
    };
    struct WriteLog {
        std::mutex mutex;
        std::vector<Write> writes;  // in order: number n of FaultLowerFs::tear_at is [n - 1]
    };

    explicit BorrowedLower(LowerFs& to, WriteLog* log = nullptr,
                           std::function<void()> after_sync = {})
        : to_(to), log_(log), after_sync_(std::move(after_sync)) {}

    R<lower::Fd> open(int d, Name n, int flags, mode_t mode) override {
        return to_.open(d, n, flags, mode);
    }
    R<lower::Fd> open_tmpfile(int d, mode_t mode) override { return to_.open_tmpfile(d, mode); }
    R<void> link_tmpfile(int fd, int d, Name n) override { return to_.link_tmpfile(fd, d, n); }
    R<struct stat> stat_at(int d, Name n) override { return to_.stat_at(d, n); }
    R<void> mkdir(int d, Name n, mode_t mode) override { return to_.mkdir(d, n, mode); }
    R<void> mknod(int d, Name n, mode_t mode, dev_t dev) override {
        return to_.mknod(d, n, mode, dev);
    }
    R<void> symlink(Name target, int d, Name n) override { return to_.symlink(target, d, n); }
    R<std::string> readlink(int d, Name n) override { return to_.readlink(d, n); }
    R<void> unlink(int d, Name n) override { return to_.unlink(d, n); }
    R<void> rmdir(int d, Name n) override { return to_.rmdir(d, n); }
    R<void> rename(int d, Name n, int e, Name m, lower::RenameMode mode) override {
        return to_.rename(d, n, e, m, mode);
    }
    R<void> link(int d, Name n, int e, Name m) override { return to_.link(d, n, e, m); }
    R<void> chown_at(int d, Name n, uid_t uid, gid_t gid) override {
        return to_.chown_at(d, n, uid, gid);
    }
    R<void> chmod_at(int d, Name n, mode_t mode) override { return to_.chmod_at(d, n, mode); }
    R<void> utimens_at(int d, Name n, const struct timespec times[2]) override {
        return to_.utimens_at(d, n, times);
    }
    R<void> list_from(int d, std::uint64_t cookie,
                      const std::function<bool(const lower::DirEntry&)>& each) override {
        return to_.list_from(d, cookie, each);
    }
    R<struct stat> stat(int fd) override { return to_.stat(fd); }
    void forget_cached(int fd) override { to_.forget_cached(fd); }
    R<void> may_change_names(int d) override { return to_.may_change_names(d); }
    R<std::size_t> pread(int fd, MutBytes out, std::uint64_t off) override {
        return to_.pread(fd, out, off);
    }
    R<void> pwrite(int fd, Bytes in, std::uint64_t off) override {
        note(off, in.size());
        return to_.pwrite(fd, in, off);
    }
    R<void> pwritev(int fd, std::span<const iovec> in, std::uint64_t off) override {
        std::uint64_t size = 0;
        for (const iovec& piece : in) size += piece.iov_len;
        note(off, size);
        return to_.pwritev(fd, in, off);
    }
    R<void> truncate(int fd, std::uint64_t size) override { return to_.truncate(fd, size); }
    R<void> fallocate(int fd, int mode, std::uint64_t off, std::uint64_t size) override {
        return to_.fallocate(fd, mode, off, size);
    }
    R<std::uint64_t> seek(int fd, std::uint64_t off, int whence) override {
        return to_.seek(fd, off, whence);
    }
    R<void> chown(int fd, uid_t uid, gid_t gid) override { return to_.chown(fd, uid, gid); }
    R<void> chmod(int fd, mode_t mode) override { return to_.chmod(fd, mode); }
    R<void> utimens(int fd, const struct timespec times[2]) override {
        return to_.utimens(fd, times);
    }
    R<void> fdatasync(int fd) override { return to_.fdatasync(fd); }
    R<void> fsync(int fd) override {
        auto r = to_.fsync(fd);
        if (after_sync_) after_sync_();
        return r;
    }
    R<void> syncfs(int fd) override {
        auto r = to_.syncfs(fd);
        if (after_sync_) after_sync_();
        return r;
    }
    R<struct statvfs> statvfs(int fd) override { return to_.statvfs(fd); }
    R<ByteVector> get_xattr(int d, Name n, Name attr) override { return to_.get_xattr(d, n, attr); }
    R<void> set_xattr(int d, Name n, Name attr, Bytes value, int flags) override {
        return to_.set_xattr(d, n, attr, value, flags);
    }
    R<void> remove_xattr(int d, Name n, Name attr) override { return to_.remove_xattr(d, n, attr); }
    R<std::vector<std::string>> list_xattr(int d, Name n) override { return to_.list_xattr(d, n); }
    R<ByteVector> get_xattr(int fd, Name attr) override { return to_.get_xattr(fd, attr); }
    R<void> set_xattr(int fd, Name attr, Bytes value, int flags) override {
        return to_.set_xattr(fd, attr, value, flags);
    }
    R<void> remove_xattr(int fd, Name attr) override { return to_.remove_xattr(fd, attr); }
    R<std::vector<std::string>> list_xattr(int fd) override { return to_.list_xattr(fd); }

  private:
    void note(std::uint64_t offset, std::uint64_t size) {
        if (log_ == nullptr) return;
        const std::lock_guard lock(log_->mutex);
        log_->writes.push_back({offset, size});
    }

    LowerFs& to_;
    WriteLog* log_;
    std::function<void()> after_sync_;
};

}  // namespace extencfs::core
