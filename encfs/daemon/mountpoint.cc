// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/mountpoint.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string_view>

#include "encfs/daemon/mount_table.h"
#include "encfs/lower/fd.h"

namespace extencfs::daemon {
namespace {

// A path cannot have more components than this (PATH_MAX / 2).
constexpr int kMostLevels = 2048;

bool same_file(const struct stat& a, const struct stat& b) {
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

// Whether `directory` is `volume` or lies below it: walks up by "..".
bool lies_in(int directory, int volume) {
    struct stat wanted {};
    struct stat here {};
    if (fstat(volume, &wanted) != 0 || fstat(directory, &here) != 0) return false;
    lower::Fd at(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int level = 0; at && level < kMostLevels; ++level) {
        if (same_file(here, wanted)) return true;
        lower::Fd above(openat(at.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
        struct stat next {};
        if (!above || fstat(above.get(), &next) != 0 || same_file(here, next)) return false;
        here = next;
        at = std::move(above);
    }
    return false;
}

bool is_empty(int directory) {
    const int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) return true;
    const std::unique_ptr<DIR, int (*)(DIR*)> listing(fdopendir(copy), &closedir);
    if (!listing) {
        ::close(copy);
        return true;
    }
    while (const dirent* entry = readdir(listing.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") return false;
    }
    return true;
}

}  // namespace

Outcome<std::string> check_mountpoint(const std::string& path, int volume_root_fd,
                                      Occupied occupied) {
    auto resolved = resolve_mountpoint(path);
    if (!resolved) return resolved;
    if (const auto entry = find_mount(*resolved); entry && is_extencfs(*entry)) {
        return fail(FailureKind::kMountpoint, *resolved,
                    " is already a mount of extencfs; unmount it first with 'extencfs unmount'");
    }
    const lower::Fd directory(
        ::open(resolved->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
    if (!directory) {
        return fail(FailureKind::kMountpoint, path, " cannot be used as a mountpoint (",
                    errno_text(errno), "); give an existing directory of yours");
    }
    if (lies_in(directory.get(), volume_root_fd)) {
        return fail(FailureKind::kMountpoint, path,
                    " lies in the volume itself; mount it somewhere else");
    }
    if (occupied == Occupied::kRefuse && !is_empty(directory.get())) {
        return fail(FailureKind::kMountpoint, path,
                    " is not empty and would be hidden; give an empty directory, or -o nonempty");
    }
    return resolved;
}

}  // namespace extencfs::daemon
