// SPDX-License-Identifier: Apache-2.0
// EncFS's configuration files while their volume is in two formats.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <string_view>

#include "encfs/migrate/in_place.h"

namespace extencfs::migrate {
namespace {

constexpr std::string_view kText =
    "This volume is half migrated, to a format that EncFS does not know.\n"
    "Go on with: extencfs migrate --in-place DIRECTORY\n";
constexpr std::size_t kMostBytes = 1024 * 1024;

lower::Result<ByteVector> read_file(lower::LowerFs& fs, int dirfd, const std::string& name,
                                    struct stat& is) {
    const auto file = fs.open(dirfd, name, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
    if (!file) return std::unexpected(file.error());
    const auto attr = fs.stat(file->get());
    if (!attr) return std::unexpected(attr.error());
    is = *attr;
    if (!S_ISREG(is.st_mode) || static_cast<std::size_t>(is.st_size) > kMostBytes)
        return std::unexpected(lower::Errno{EINVAL});
    ByteVector bytes(static_cast<std::size_t>(is.st_size));
    const auto got = fs.pread(file->get(), bytes, 0);
    if (!got) return std::unexpected(got.error());
    bytes.resize(*got);
    return bytes;
}

lower::Result<void> write_file(lower::LowerFs& fs, int dirfd, const std::string& name, Bytes bytes,
                               const struct stat* like) {
    const auto file = fs.open(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOCTTY, 0600);
    if (!file) return std::unexpected(file.error());
    if (auto r = fs.pwrite(file->get(), bytes, 0); !r) return r;
    if (like != nullptr) {
        // As far as allowed: the bytes are what counts.
        (void)fs.chown(file->get(), like->st_uid, like->st_gid);
        (void)fs.chmod(file->get(), like->st_mode & 07777);
        const struct timespec times[2] = {like->st_atim, like->st_mtim};
        (void)fs.utimens(file->get(), times);
    }
    return fs.fsync(file->get());
}

}  // namespace

bool is_placeholder(lower::LowerFs& fs, int dirfd, const std::string& name) {
    struct stat is {};
    const auto bytes = read_file(fs, dirfd, name, is);
    return bytes && text_of(*bytes) == kText;
}

lower::Result<void> write_placeholder(lower::LowerFs& fs, int dirfd, const std::string& name) {
    return write_file(fs, dirfd, name, bytes_of(kText), nullptr);
}

lower::Result<void> copy_config(lower::LowerFs& fs, int from_fd, const std::string& name,
                                int to_fd) {
    struct stat is {};
    const auto bytes = read_file(fs, from_fd, name, is);
    if (!bytes) return std::unexpected(bytes.error());
    (void)fs.unlink(to_fd, name);
    return write_file(fs, to_fd, name, *bytes, &is);
}

}  // namespace extencfs::migrate
