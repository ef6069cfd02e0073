// SPDX-License-Identifier: Apache-2.0
#include <linux/limits.h>
#include <sys/xattr.h>

#include <algorithm>
#include <array>

#include "encfs/lower/posix_lower_fs.h"
#include "encfs/lower/proc_path.h"

namespace extencfs::lower {
namespace {

// Large enough for nearly every value and list, so that one call is enough.
constexpr std::size_t kFirstTry = 1024;
// No value and no list is larger on Linux.
constexpr std::size_t kLargest = 64 * 1024;
// NOLINTNEXTLINE(misc-redundant-expression): the same number by two names
static_assert(kLargest == XATTR_SIZE_MAX && kLargest == XATTR_LIST_MAX);

// The bytes that `fill(buffer, size)` leaves, by a second call when they are many.
template <typename Fill>
Result<ByteVector> gathered(Fill fill) {
    std::array<std::byte, kFirstTry> first;
    ssize_t size = uninterrupted([&] { return fill(first.data(), first.size()); });
    if (size >= 0) return ByteVector(first.begin(), first.begin() + size);
    if (errno != ERANGE) return failure();
    ByteVector all(kLargest);
    size = uninterrupted([&] { return fill(all.data(), all.size()); });
    if (size == -1) return failure();
    all.resize(static_cast<std::size_t>(size));
    return all;
}

// The kernel's list: each name with a NUL after it.
Result<std::vector<std::string>> split(const Result<ByteVector>& list) {
    if (!list) return std::unexpected(list.error());
    std::vector<std::string> names;
    for (std::string_view rest = text_of(*list); !rest.empty();) {
        const std::size_t end = std::min(rest.find('\0'), rest.size());
        names.emplace_back(rest.substr(0, end));
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return names;
}

// As name_error, and for a path through /proc also the name's length.
int component_error(const std::string& name) {
    return name.size() > NAME_MAX ? ENAMETOOLONG : name_error(name);
}

}  // namespace

Result<ByteVector> PosixLowerFs::get_xattr(int dirfd, const std::string& name,
                                           const std::string& attr) {
    if (const int error = component_error(name)) return failure(error);
    const ProcPath path(dirfd, name);
    return gathered([&](void* buffer, std::size_t size) {
        return ::lgetxattr(path.c_str(), attr.c_str(), buffer, size);
    });
}

Result<void> PosixLowerFs::set_xattr(int dirfd, const std::string& name, const std::string& attr,
                                     Bytes value, int flags) {
    if (const int error = component_error(name)) return failure(error);
    const ProcPath path(dirfd, name);
    return checked(
        [&] { return ::lsetxattr(path.c_str(), attr.c_str(), value.data(), value.size(), flags); });
}

Result<void> PosixLowerFs::remove_xattr(int dirfd, const std::string& name,
                                        const std::string& attr) {
    if (const int error = component_error(name)) return failure(error);
    const ProcPath path(dirfd, name);
    return checked([&] { return ::lremovexattr(path.c_str(), attr.c_str()); });
}

Result<std::vector<std::string>> PosixLowerFs::list_xattr(int dirfd, const std::string& name) {
    if (const int error = component_error(name)) return failure(error);
    const ProcPath path(dirfd, name);
    return split(gathered([&](void* buffer, std::size_t size) {
        return ::llistxattr(path.c_str(), static_cast<char*>(buffer), size);
    }));
}

Result<ByteVector> PosixLowerFs::get_xattr(int fd, const std::string& attr) {
    return gathered([&](void* buffer, std::size_t size) {
        return ::fgetxattr(fd, attr.c_str(), buffer, size);
    });
}

Result<void> PosixLowerFs::set_xattr(int fd, const std::string& attr, Bytes value, int flags) {
    return checked(
        [&] { return ::fsetxattr(fd, attr.c_str(), value.data(), value.size(), flags); });
}

Result<void> PosixLowerFs::remove_xattr(int fd, const std::string& attr) {
    return checked([&] { return ::fremovexattr(fd, attr.c_str()); });
}

Result<std::vector<std::string>> PosixLowerFs::list_xattr(int fd) {
    return split(gathered([&](void* buffer, std::size_t size) {
        return ::flistxattr(fd, static_cast<char*>(buffer), size);
    }));
}

}  // namespace extencfs::lower
