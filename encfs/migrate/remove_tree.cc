// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/remove_tree.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <vector>

namespace extencfs::migrate {

// What is at a name, and everything below it.
lower::Result<void> remove_entry(lower::LowerFs& fs, int dirfd, const std::string& name) {
    const auto is = fs.stat_at(dirfd, name);
    if (!is) return std::unexpected(is.error());
    if (!S_ISDIR(is->st_mode)) return fs.unlink(dirfd, name);
    auto directory = fs.open(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    if (!directory && directory.error().value == EACCES) {
        if (auto r = fs.chmod_at(dirfd, name, 0700); !r) return r;
        directory = fs.open(dirfd, name, O_RDONLY | O_DIRECTORY, 0);
    }
    if (!directory) return std::unexpected(directory.error());
    if ((is->st_mode & S_IRWXU) != S_IRWXU) (void)fs.chmod(directory->get(), 0700);
    if (auto r = remove_below(fs, directory->get(), {}); !r) return r;
    return fs.rmdir(dirfd, name);
}

lower::Result<void> remove_below(lower::LowerFs& fs, int dirfd, const std::string& keep) {
    std::vector<std::string> names;
    const auto listed = fs.list(dirfd, [&](const lower::DirEntry& entry) {
        if (entry.name != keep) names.emplace_back(entry.name);
        return true;
    });
    if (!listed) return listed;
    for (const std::string& name : names) {
        auto gone = remove_entry(fs, dirfd, name);
        if (!gone && gone.error().value != ENOENT) return gone;
    }
    return {};
}

}  // namespace extencfs::migrate
