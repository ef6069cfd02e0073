// SPDX-License-Identifier: Apache-2.0
#include "tests/fake/pinned_file.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "encfs/lower/proc_path.h"

namespace extencfs::fake {

using lower::Fd;
using lower::ProcPath;

namespace {

void expect_ok(long result, const char* what) {
    if (result == -1) stop(what);
}

// What xattr calls say where the file system or the kind of file has none.
bool means_no_xattrs(int error) {
    return error == ENODATA || error == EOPNOTSUPP || error == EPERM || error == EACCES;
}

void copy_content(int from, int to, off_t size) {
    std::array<char, 64 * 1024> buffer;
    for (off_t at = 0; at < size;) {
        const off_t data = ::lseek(from, at, SEEK_DATA);
        if (data == -1 && errno == ENXIO) break;
        expect_ok(data, "SEEK_DATA of an unlinked file");
        const ssize_t count = ::pread(from, buffer.data(), buffer.size(), data);
        expect_ok(count, "reading an unlinked file");
        if (count == 0) break;
        if (::pwrite(to, buffer.data(), static_cast<std::size_t>(count), data) != count)
            stop("copying an unlinked file");
        at = data + count;
    }
    expect_ok(::ftruncate(to, size), "sizing a copy");
}

void copy_xattrs(const PinnedFile& from, const PinnedFile& to) {
    // What the directory's default ACL gave the copy is not its own.
    for (const char* acl : {"system.posix_acl_access", "system.posix_acl_default"})
        (void)::removexattr(ProcPath(to.fd()).c_str(), acl);
    std::array<char, XATTR_LIST_MAX> list;
    const ssize_t size = ::listxattr(ProcPath(from.fd()).c_str(), list.data(), list.size());
    if (size == -1 && means_no_xattrs(errno)) return;
    expect_ok(size, "listxattr of an unlinked file");
    for (std::string_view rest(list.data(), static_cast<std::size_t>(size)); !rest.empty();) {
        const std::string attr(rest.substr(0, rest.find('\0')));
        rest.remove_prefix(attr.size() + 1);
        const auto value = from.xattr(attr);
        if (!value) continue;
        expect_ok(
            ::setxattr(ProcPath(to.fd()).c_str(), attr.c_str(), value->data(), value->size(), 0),
            "setxattr of a copy");
    }
}

}  // namespace

void stop(const char* what) {
    std::fprintf(stderr, "fake backing directory: ");
    std::perror(what);
    std::abort();
}

PinnedFile::PinnedFile(Fd path) : fd_(std::move(path)), type_(stat().st_mode) {
    if (!is_regular()) return;
    fd_ = Fd(::open(ProcPath(fd_.get()).c_str(), O_RDWR | O_CLOEXEC));
    if (!fd_) stop("opening a file of the backing directory for its log (needs root or its owner)");
}

std::shared_ptr<PinnedFile> PinnedFile::of(int fd) {
    Fd path(::open(ProcPath(fd).c_str(), O_PATH | O_CLOEXEC));
    if (!path) stop("pinning a descriptor");
    return std::shared_ptr<PinnedFile>(new PinnedFile(std::move(path)));
}

std::shared_ptr<PinnedFile> PinnedFile::of(int dirfd, const std::string& name) {
    Fd path(::openat(dirfd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!path && (errno == EMFILE || errno == ENFILE)) stop("pinning a name");
    if (!path) return nullptr;
    return std::shared_ptr<PinnedFile>(new PinnedFile(std::move(path)));
}

struct stat PinnedFile::stat() const {
    struct stat is;
    expect_ok(::fstat(fd_.get(), &is), "fstat of a pinned file");
    return is;
}

void PinnedFile::put_back(const PinnedFile& dir, const std::string& name) {
    const struct stat is = stat();
    if (!S_ISDIR(is.st_mode) && is.st_nlink > 0) {
        expect_ok(
            ::linkat(AT_FDCWD, ProcPath(fd()).c_str(), dir.fd(), name.c_str(), AT_SYMLINK_FOLLOW),
            "putting back a further name");
        return;
    }
    make_copy(dir, name, is);
}

void PinnedFile::make_copy(const PinnedFile& dir, const std::string& name, const struct stat& is) {
    const char* const to = name.c_str();
    if (S_ISREG(is.st_mode)) {
        const Fd made(::openat(dir.fd(), to, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
        expect_ok(made.get(), "putting back a file");
        copy_content(fd(), made.get(), is.st_size);
    } else if (S_ISDIR(is.st_mode)) {
        expect_ok(::mkdirat(dir.fd(), to, 0700), "putting back a directory");
    } else if (S_ISLNK(is.st_mode)) {
        char target[PATH_MAX + 1] = {};
        expect_ok(::readlinkat(fd(), "", target, PATH_MAX), "reading an unlinked symlink");
        expect_ok(::symlinkat(target, dir.fd(), to), "putting back a symlink");
    } else {
        expect_ok(::mknodat(dir.fd(), to, is.st_mode, is.st_rdev), "putting back a special file");
    }
    const auto copy = of(dir.fd(), name);
    if (!copy) stop("opening what was put back");
    if (!S_ISLNK(is.st_mode)) copy_xattrs(*this, *copy);
    copy->restore_attributes(is);
    const struct timespec times[2] = {is.st_atim, is.st_mtim};
    expect_ok(::utimensat(dir.fd(), to, times, AT_SYMLINK_NOFOLLOW), "times of what was put back");
    fd_ = std::move(copy->fd_);
}

void PinnedFile::restore_attributes(const struct stat& was) {
    expect_ok(::fchownat(fd(), "", was.st_uid, was.st_gid, AT_EMPTY_PATH), "undoing chown");
    if (!S_ISLNK(type_))
        expect_ok(::chmod(ProcPath(fd()).c_str(), was.st_mode & 07777), "undoing chmod");
}

std::optional<ByteVector> PinnedFile::xattr(const std::string& attr) const {
    ByteVector value(XATTR_SIZE_MAX);
    const ssize_t size =
        ::getxattr(ProcPath(fd()).c_str(), attr.c_str(), value.data(), value.size());
    if (size == -1 && means_no_xattrs(errno)) return std::nullopt;
    expect_ok(size, "getxattr of a pinned file");
    value.resize(static_cast<std::size_t>(size));
    return value;
}

void PinnedFile::restore_xattr(const std::string& attr, const std::optional<ByteVector>& value) {
    const ProcPath path(fd());
    if (value)
        expect_ok(::setxattr(path.c_str(), attr.c_str(), value->data(), value->size(), 0),
                  "undoing an xattr change");
    else if (::removexattr(path.c_str(), attr.c_str()) == -1 && errno != ENODATA)
        stop("undoing a new xattr");
}

}  // namespace extencfs::fake
