// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/fd_path.h"

#include <limits.h>
#include <unistd.h>

#include "encfs/lower/proc_path.h"

namespace extencfs::core {

namespace {

std::string path_of(int fd) {
    char path[PATH_MAX];
    // lint-allow(path-call): a held descriptor's own path
    const ssize_t size = ::readlink(lower::ProcPath(fd).c_str(), path, sizeof path);
    return size > 0 ? std::string(path, static_cast<std::size_t>(size)) : std::string();
}

}  // namespace

std::string path_below(int rootfd, int fd) {
    std::string path = path_of(fd);
    const std::string root = path_of(rootfd);
    if (!root.empty() && path.starts_with(root + "/")) path.erase(0, root.size() + 1);
    return path;
}

}  // namespace extencfs::core
