// SPDX-License-Identifier: Apache-2.0
#include "tools/private_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <utility>

#include "encfs/lower/fd.h"

namespace extencfs::tools {
namespace {

using daemon::errno_text;
using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;

// 0 or the error.
int write_all(int fd, Bytes bytes) {
    while (!bytes.empty()) {
        const ssize_t put = ::write(fd, bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return errno;
        bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return 0;
}

std::string directory_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

int sync_directory_of(const std::string& path) {
    const lower::Fd directory(
        ::open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return errno;
    // EINVAL: this file system does not sync directories alone.
    return ::fsync(directory.get()) != 0 && errno != EINVAL ? errno : 0;
}

std::unexpected<daemon::Failure> is_there(const std::string& path) {
    return fail(FailureKind::kOther, path,
                " is there already, and is not replaced; give another name");
}

bool is_same(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

Outcome<void> check_is_absent(const std::string& path) {
    struct stat is {};
    if (::lstat(path.c_str(), &is) == 0) return is_there(path);
    return {};
}

bool lies_within(const std::string& path, const std::string& directory) {
    struct stat wanted {};
    if (::stat(directory.c_str(), &wanted) != 0) return false;
    // A link that is the file itself: where it leads counts.
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                           &std::free);
    const std::string above = directory_of(real ? std::string(real.get()) : path);
    lower::Fd at(::open(above.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct stat here {};
    constexpr int kDeepest = 4096;
    for (int depth = 0; depth < kDeepest && at && ::fstat(at.get(), &here) == 0; ++depth) {
        if (is_same(here, wanted)) return true;
        lower::Fd up(::openat(at.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
        struct stat next {};
        if (!up || ::fstat(up.get(), &next) != 0 || is_same(next, here)) return false;
        at = std::move(up);
    }
    return false;
}

Outcome<crypto::SecretBytes> read_small_file(const std::string& path, std::size_t most,
                                             FailureKind kind) {
    const lower::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
    struct stat is {};
    if (!file || ::fstat(file.get(), &is) != 0) {
        return fail(kind, path, " cannot be opened (", errno_text(errno), "); check the path");
    }
    // One byte more shows that it is longer.
    const bool sized = S_ISREG(is.st_mode) && static_cast<std::size_t>(is.st_size) <= most;
    crypto::SecretBytes bytes((sized ? static_cast<std::size_t>(is.st_size) : most) + 1);
    std::size_t size = 0;
    while (size < bytes.size()) {
        const ssize_t got =
            ::read(file.get(), bytes.mutable_bytes().data() + size, bytes.size() - size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            return fail(kind, path, " cannot be read (", errno_text(errno),
                        "); check what it is, and the disk");
        }
        if (got == 0) break;
        size += static_cast<std::size_t>(got);
    }
    if (size == bytes.size()) {
        return fail(kind, path, " is longer than ", std::to_string(most),
                    " bytes, or still grows; give another file");
    }
    bytes.shrink(size);
    return bytes;
}

Outcome<void> write_private_file(const std::string& path, Bytes contents) {
    const lower::Fd file(
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600));
    if (!file) {
        if (errno == EEXIST) return is_there(path);
        return fail(FailureKind::kOther, path, " cannot be made (", errno_text(errno),
                    "); check the path");
    }
    int error = write_all(file.get(), contents);
    if (error == 0 && ::fsync(file.get()) != 0) error = errno;
    if (error == 0) error = sync_directory_of(path);
    if (error == 0) return {};
    (void)::unlink(path.c_str());
    return fail(FailureKind::kOther, path, " cannot be written (", errno_text(error),
                "); check free space");
}

}  // namespace extencfs::tools
