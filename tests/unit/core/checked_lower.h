// SPDX-License-Identifier: Apache-2.0
// A lower file system that says of each call what it looks at and what it changes, before and
// after: to a watcher that checks what was closed, or counts. THREADS: any, in parallel.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>

#include "encfs/volume/format.h"
#include "tests/unit/core/borrowed_lower.h"

namespace extencfs::core {

// Told of lower calls. Inode numbers; 0 where there is none.
class LowerWatch {
  public:
    virtual ~LowerWatch() = default;
    virtual void looks_at(std::uint64_t ino) = 0;
    virtual void looks_into(std::uint64_t directory) = 0;
    virtual void looks_at_xattrs(std::uint64_t ino) = 0;
    virtual void changes(const char* call, std::uint64_t ino) = 0;
    virtual void changes_name(const char* call, std::uint64_t directory) = 0;
    virtual void changes_xattrs(const char* call, std::uint64_t ino) = 0;
    virtual void changed(std::uint64_t ino) = 0;  // after each changes()
};

class CheckedLower final : public BorrowedLower {
    template <typename T>
    using R = lower::Result<T>;
    using Name = const std::string&;

  public:
    CheckedLower(LowerFs& to, LowerWatch& watch) : BorrowedLower(to), watch_(watch) {}

    R<lower::Fd> open(int d, Name n, int flags, mode_t mode) override {
        const Changing dir(*this, "open", (flags & O_CREAT) && ino_at(d, n) == 0 ? ino(d) : 0);
        return BorrowedLower::open(d, n, flags, mode);
    }
    R<void> link_tmpfile(int fd, int d, Name n) override {
        const Changing file(*this, "link", ino(fd)), dir(*this, "link", ino(d));
        name("link", d, n);
        return BorrowedLower::link_tmpfile(fd, d, n);
    }
    R<struct stat> stat_at(int d, Name n) override {
        watch_.looks_into(ino(d));
        watch_.looks_at(ino_at(d, n));
        return BorrowedLower::stat_at(d, n);
    }
    R<struct stat> stat(int fd) override {
        watch_.looks_at(ino(fd));
        return BorrowedLower::stat(fd);
    }
    R<void> mkdir(int d, Name n, mode_t mode) override {
        // An attempt changes nothing where the name is taken.
        const Changing dir(*this, "mkdir", ino_at(d, n) == 0 ? ino(d) : 0);
        name("mkdir", d, n);
        return BorrowedLower::mkdir(d, n, mode);
    }
    R<void> mknod(int d, Name n, mode_t mode, dev_t dev) override {
        const Changing dir(*this, "mknod", ino(d));
        name("mknod", d, n);
        return BorrowedLower::mknod(d, n, mode, dev);
    }
    R<void> symlink(Name target, int d, Name n) override {
        const Changing dir(*this, "symlink", ino(d));
        name("symlink", d, n);
        return BorrowedLower::symlink(target, d, n);
    }
    R<void> unlink(int d, Name n) override {
        const Changing dir(*this, "unlink", ino(d)), file(*this, "unlink", ino_at(d, n));
        name("unlink", d, n);
        return BorrowedLower::unlink(d, n);
    }
    R<void> rmdir(int d, Name n) override {
        const Changing dir(*this, "rmdir", ino(d)), victim(*this, "rmdir", ino_at(d, n));
        name("rmdir", d, n);
        return BorrowedLower::rmdir(d, n);
    }
    R<void> rename(int d, Name n, int e, Name m, lower::RenameMode mode) override {
        const Changing from(*this, "rename", ino(d)), to(*this, "rename", ino(e));
        const Changing moved(*this, "rename", ino_at(d, n)), other(*this, "rename", ino_at(e, m));
        name("rename", d, n);
        name("rename", e, m);
        return BorrowedLower::rename(d, n, e, m, mode);
    }
    R<void> link(int d, Name n, int e, Name m) override {
        const Changing file(*this, "link", ino_at(d, n)), dir(*this, "link", ino(e));
        name("link", e, m);
        return BorrowedLower::link(d, n, e, m);
    }
    R<void> chown_at(int d, Name n, uid_t uid, gid_t gid) override {
        const Changing file(*this, "chown_at", ino_at(d, n));
        return BorrowedLower::chown_at(d, n, uid, gid);
    }
    R<void> chmod_at(int d, Name n, mode_t mode) override {
        const Changing file(*this, "chmod_at", ino_at(d, n));
        return BorrowedLower::chmod_at(d, n, mode);
    }
    R<void> utimens_at(int d, Name n, const struct timespec times[2]) override {
        const Changing file(*this, "utimens_at", ino_at(d, n));
        return BorrowedLower::utimens_at(d, n, times);
    }
    R<void> pwrite(int fd, Bytes in, std::uint64_t off) override {
        const Changing file(*this, "pwrite", ino(fd));
        return BorrowedLower::pwrite(fd, in, off);
    }
    R<void> pwritev(int fd, std::span<const iovec> in, std::uint64_t off) override {
        const Changing file(*this, "pwritev", ino(fd));
        return BorrowedLower::pwritev(fd, in, off);
    }
    R<void> truncate(int fd, std::uint64_t size) override {
        const Changing file(*this, "truncate", ino(fd));
        return BorrowedLower::truncate(fd, size);
    }
    R<void> fallocate(int fd, int mode, std::uint64_t off, std::uint64_t size) override {
        const Changing file(*this, "fallocate", ino(fd));
        return BorrowedLower::fallocate(fd, mode, off, size);
    }
    R<void> chown(int fd, uid_t uid, gid_t gid) override {
        const Changing file(*this, "chown", ino(fd));
        return BorrowedLower::chown(fd, uid, gid);
    }
    R<void> chmod(int fd, mode_t mode) override {
        const Changing file(*this, "chmod", ino(fd));
        return BorrowedLower::chmod(fd, mode);
    }
    R<void> utimens(int fd, const struct timespec times[2]) override {
        const Changing file(*this, "utimens", ino(fd));
        return BorrowedLower::utimens(fd, times);
    }
    R<ByteVector> get_xattr(int d, Name n, Name attr) override {
        watch_.looks_at_xattrs(ino_at(d, n));
        return BorrowedLower::get_xattr(d, n, attr);
    }
    R<ByteVector> get_xattr(int fd, Name attr) override {
        watch_.looks_at_xattrs(ino(fd));
        return BorrowedLower::get_xattr(fd, attr);
    }
    R<std::vector<std::string>> list_xattr(int d, Name n) override {
        watch_.looks_at_xattrs(ino_at(d, n));
        return BorrowedLower::list_xattr(d, n);
    }
    R<std::vector<std::string>> list_xattr(int fd) override {
        watch_.looks_at_xattrs(ino(fd));
        return BorrowedLower::list_xattr(fd);
    }
    R<void> set_xattr(int d, Name n, Name attr, Bytes value, int flags) override {
        const Changing file(*this, "set_xattr", ino_at(d, n));
        watch_.changes_xattrs("set_xattr", ino_at(d, n));
        return BorrowedLower::set_xattr(d, n, attr, value, flags);
    }
    R<void> set_xattr(int fd, Name attr, Bytes value, int flags) override {
        const Changing file(*this, "set_xattr", ino(fd));
        watch_.changes_xattrs("set_xattr", ino(fd));
        return BorrowedLower::set_xattr(fd, attr, value, flags);
    }
    R<void> remove_xattr(int d, Name n, Name attr) override {
        const Changing file(*this, "remove_xattr", ino_at(d, n));
        watch_.changes_xattrs("remove_xattr", ino_at(d, n));
        return BorrowedLower::remove_xattr(d, n, attr);
    }
    R<void> remove_xattr(int fd, Name attr) override {
        const Changing file(*this, "remove_xattr", ino(fd));
        watch_.changes_xattrs("remove_xattr", ino(fd));
        return BorrowedLower::remove_xattr(fd, attr);
    }

  private:
    class Changing {
      public:
        Changing(CheckedLower& lower, const char* call, std::uint64_t ino)
            : lower_(lower), ino_(ino) {
            if (ino_ != 0) lower_.watch_.changes(call, ino_);
        }
        ~Changing() {
            if (ino_ != 0) lower_.watch_.changed(ino_);
        }
        Changing(const Changing&) = delete;
        Changing& operator=(const Changing&) = delete;

      private:
        CheckedLower& lower_;
        std::uint64_t ino_;
    };

    static std::uint64_t ino(int fd) {
        struct stat is {};
        return ::fstat(fd, &is) == 0 ? is.st_ino : 0;
    }
    static std::uint64_t ino_at(int dirfd, Name n) {
        struct stat is {};
        return ::fstatat(dirfd, n.c_str(), &is, AT_SYMLINK_NOFOLLOW) == 0 ? is.st_ino : 0;
    }
    // The format's own names are nobody's.
    void name(const char* call, int dirfd, Name n) {
        if (n.starts_with(volume::kReservedPrefix) && !n.starts_with(volume::kLongEntryPrefix))
            return;
        watch_.changes_name(call, ino(dirfd));
    }

    LowerWatch& watch_;
};

}  // namespace extencfs::core
