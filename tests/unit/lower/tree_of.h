// SPDX-License-Identifier: Apache-2.0
// Everything that can be seen of a directory tree, for comparing it before and after a crash.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

namespace extencfs::lower {

// Path to a description: kind, mode, owner, number of links, and content or target.
inline std::map<std::string, std::string> tree_of(const std::string& root) {
    std::map<std::string, std::string> tree;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
        struct stat is;
        if (::lstat(entry.path().c_str(), &is) != 0) continue;
        std::ostringstream text;
        text << std::oct << is.st_mode << std::dec << ' ' << is.st_uid << ':' << is.st_gid << ' ';
        if (!S_ISDIR(is.st_mode)) text << is.st_nlink << ' ';
        if (S_ISREG(is.st_mode)) text << std::ifstream(entry.path()).rdbuf();
        if (S_ISLNK(is.st_mode)) text << std::filesystem::read_symlink(entry.path()).string();
        tree[entry.path().lexically_relative(root)] = text.str();
    }
    return tree;
}

}  // namespace extencfs::lower
