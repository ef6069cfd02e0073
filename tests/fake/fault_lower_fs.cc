// SPDX-License-Identifier: Apache-2.0
#include "tests/fake/fault_lower_fs.h"

#include <fcntl.h>

namespace extencfs::fake {

using lower::DirEntry;
using lower::Fd;
using lower::RenameMode;
using lower::Result;

std::string FaultLowerFs::power_cut(std::uint64_t seed) {
    plan_.reset();
    return log_->crash(seed);
}

Result<Fd> FaultLowerFs::open(int dirfd, const std::string& name, int flags, mode_t mode) {
    const auto call = [&] {
        auto file = under_->open(dirfd, name, flags, mode);
        if (file && log_) note_opened(file->get());
        return file;
    };
    if ((flags & (O_CREAT | O_TRUNC)) == 0) return reading("open", call);
    return changing("open", [&]() -> Result<Fd> {
        if (!log_) return call();
        const auto was = log_->file(dirfd, name);
        const bool cuts = was && was->is_regular() && (flags & O_TRUNC) != 0;
        if (cuts) was->pages().before(was->fd(), 0, ~std::uint64_t{0});
        auto file = call();
        if (cuts) was->pages().after(was->fd());
        if (file && !was) log_->created(dirfd, name);
        return file;
    });
}

Result<Fd> FaultLowerFs::open_tmpfile(int dirfd, mode_t mode) {
    return changing("open_tmpfile", [&] {
        auto file = under_->open_tmpfile(dirfd, mode);
        if (file && log_) log_->file(file->get())->may_be_linked = true;
        return file;
    });
}

Result<void> FaultLowerFs::link_tmpfile(int fd, int dirfd, const std::string& name) {
    return changing("link_tmpfile", [&] {
        auto done = under_->link_tmpfile(fd, dirfd, name);
        if (done && log_) log_->created(dirfd, name);
        return done;
    });
}

Result<struct stat> FaultLowerFs::stat_at(int dirfd, const std::string& name) {
    return reading("stat_at", [&] { return under_->stat_at(dirfd, name); });
}

Result<void> FaultLowerFs::mkdir(int dirfd, const std::string& name, mode_t mode) {
    return changing("mkdir", [&] {
        auto done = under_->mkdir(dirfd, name, mode);
        if (done && log_) log_->created(dirfd, name);
        return done;
    });
}

Result<void> FaultLowerFs::mknod(int dirfd, const std::string& name, mode_t mode, dev_t rdev) {
    return changing("mknod", [&] {
        auto done = under_->mknod(dirfd, name, mode, rdev);
        if (done && log_) log_->created(dirfd, name);
        return done;
    });
}

Result<void> FaultLowerFs::symlink(const std::string& target, int dirfd, const std::string& name) {
    return changing("symlink", [&] {
        auto done = under_->symlink(target, dirfd, name);
        if (done && log_) log_->created(dirfd, name);
        return done;
    });
}

Result<std::string> FaultLowerFs::readlink(int dirfd, const std::string& name) {
    return reading("readlink", [&] { return under_->readlink(dirfd, name); });
}

Result<void> FaultLowerFs::unlink(int dirfd, const std::string& name) {
    return changing("unlink", [&] {
        const auto what = logged(dirfd, name);
        auto done = under_->unlink(dirfd, name);
        if (done && log_) log_->removed(dirfd, name, what);
        return done;
    });
}

Result<void> FaultLowerFs::rmdir(int dirfd, const std::string& name) {
    return changing("rmdir", [&] {
        const auto what = logged(dirfd, name);
        auto done = under_->rmdir(dirfd, name);
        if (done && log_) log_->removed(dirfd, name, what);
        return done;
    });
}

Result<void> FaultLowerFs::rename(int from_dirfd, const std::string& from, int to_dirfd,
                                  const std::string& to, RenameMode mode) {
    return changing("rename", [&] {
        const auto moved = logged(from_dirfd, from);
        const auto replaced = logged(to_dirfd, to);
        auto done = under_->rename(from_dirfd, from, to_dirfd, to, mode);
        // Two names of one file: such a rename does nothing, in either mode.
        if (!done || !log_ || moved == replaced) return done;
        if (mode == RenameMode::kExchange)
            log_->exchanged(from_dirfd, from, to_dirfd, to);
        else
            log_->renamed(from_dirfd, from, to_dirfd, to, replaced);
        return done;
    });
}

Result<void> FaultLowerFs::link(int from_dirfd, const std::string& from, int to_dirfd,
                                const std::string& to) {
    return changing("link", [&] {
        auto done = under_->link(from_dirfd, from, to_dirfd, to);
        if (done && log_) log_->created(to_dirfd, to);
        return done;
    });
}

template <typename Call>
Result<void> FaultLowerFs::attributes(const CrashLog::File& what, Call call) {
    if (!what) return call();
    const struct stat was = what->stat();
    auto done = call();
    if (done) log_->attributes_changed(what, was);
    return done;
}

Result<void> FaultLowerFs::chown_at(int dirfd, const std::string& name, uid_t uid, gid_t gid) {
    return changing("chown_at", [&] {
        return attributes(logged(dirfd, name),
                          [&] { return under_->chown_at(dirfd, name, uid, gid); });
    });
}

Result<void> FaultLowerFs::chmod_at(int dirfd, const std::string& name, mode_t mode) {
    return changing("chmod_at", [&] {
        return attributes(logged(dirfd, name), [&] { return under_->chmod_at(dirfd, name, mode); });
    });
}

Result<void> FaultLowerFs::chown(int fd, uid_t uid, gid_t gid) {
    return changing("chown", [&] {
        return attributes(logged(fd), [&] { return under_->chown(fd, uid, gid); });
    });
}

Result<void> FaultLowerFs::chmod(int fd, mode_t mode) {
    return changing(
        "chmod", [&] { return attributes(logged(fd), [&] { return under_->chmod(fd, mode); }); });
}

Result<void> FaultLowerFs::utimens_at(int dirfd, const std::string& name,
                                      const struct timespec times[2]) {
    return changing("utimens_at", [&] { return under_->utimens_at(dirfd, name, times); });
}

Result<void> FaultLowerFs::utimens(int fd, const struct timespec times[2]) {
    return changing("utimens", [&] { return under_->utimens(fd, times); });
}

Result<void> FaultLowerFs::list_from(int dirfd, std::uint64_t cookie,
                                     const std::function<bool(const DirEntry&)>& each) {
    return reading("list", [&] { return under_->list_from(dirfd, cookie, each); });
}

template <typename Call>
Result<void> FaultLowerFs::xattr(const CrashLog::File& what, const std::string& attr, Call call) {
    if (!what) return call();
    auto was = what->xattr(attr);
    auto done = call();
    if (done) log_->xattr_changed(what, attr, std::move(was));
    return done;
}

Result<void> FaultLowerFs::set_xattr(int dirfd, const std::string& name, const std::string& attr,
                                     Bytes value, int flags) {
    return changing("set_xattr", [&] {
        return xattr(logged(dirfd, name), attr,
                     [&] { return under_->set_xattr(dirfd, name, attr, value, flags); });
    });
}

Result<void> FaultLowerFs::remove_xattr(int dirfd, const std::string& name,
                                        const std::string& attr) {
    return changing("remove_xattr", [&] {
        return xattr(logged(dirfd, name), attr,
                     [&] { return under_->remove_xattr(dirfd, name, attr); });
    });
}

Result<void> FaultLowerFs::set_xattr(int fd, const std::string& attr, Bytes value, int flags) {
    return changing("set_xattr", [&] {
        return xattr(logged(fd), attr, [&] { return under_->set_xattr(fd, attr, value, flags); });
    });
}

Result<void> FaultLowerFs::remove_xattr(int fd, const std::string& attr) {
    return changing("remove_xattr", [&] {
        return xattr(logged(fd), attr, [&] { return under_->remove_xattr(fd, attr); });
    });
}

Result<ByteVector> FaultLowerFs::get_xattr(int dirfd, const std::string& name,
                                           const std::string& attr) {
    return reading("get_xattr", [&] { return under_->get_xattr(dirfd, name, attr); });
}

Result<ByteVector> FaultLowerFs::get_xattr(int fd, const std::string& attr) {
    return reading("get_xattr", [&] { return under_->get_xattr(fd, attr); });
}

Result<std::vector<std::string>> FaultLowerFs::list_xattr(int dirfd, const std::string& name) {
    return reading("list_xattr", [&] { return under_->list_xattr(dirfd, name); });
}

Result<std::vector<std::string>> FaultLowerFs::list_xattr(int fd) {
    return reading("list_xattr", [&] { return under_->list_xattr(fd); });
}

}  // namespace extencfs::fake
