// SPDX-License-Identifier: Apache-2.0
// What an upper file system should hold, as plain values: names of nodes, and nodes. A copy is
// cheap, so that a history keeps one after each step.
#pragma once

#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>

namespace extencfs::core {

struct UpperNode {
    mode_t type = S_IFREG;  // S_IFMT bits
    std::string content;    // of a regular file; a symlink's target
    std::map<std::string, std::string> xattrs;
};

// Paths have no leading slash ("a/b"); the root is not among them.
struct UpperTree {
    std::map<std::string, int> names;
    std::map<int, std::shared_ptr<const UpperNode>> nodes;  // those without a name too

    const UpperNode& at(const std::string& path) const { return *nodes.at(names.at(path)); }
    // The node of `path` for changing it; other copies of the tree keep the old one.
    UpperNode& change(const std::string& path) {
        auto copy = std::make_shared<UpperNode>(at(path));
        UpperNode& fresh = *copy;
        nodes[names.at(path)] = std::move(copy);
        return fresh;
    }
};

// "" for a name in the root.
inline std::string parent_of(const std::string& path) {
    const auto slash = path.rfind('/');
    return slash == std::string::npos ? "" : path.substr(0, slash);
}
inline std::string name_of(const std::string& path) {
    return path.substr(path.rfind('/') + 1);
}

// Bytes that tell where they belong: of write number `stamp`, for offsets [off, off + size). Never
// zero, so that they are not taken for a hole.
inline std::string stamped(unsigned stamp, std::size_t off, std::size_t size) {
    std::string out(size, '\0');
    for (std::size_t i = 0; i < size; ++i) {
        std::uint64_t x = (off + i) * 0x9E3779B97F4A7C15ull + stamp * 0xD1B54A32D192ED03ull;
        x = (x ^ (x >> 29)) * 0xBF58476D1CE4E5B9ull;
        out[i] = static_cast<char>(1 + (x >> 40) % 255);
    }
    return out;
}

}  // namespace extencfs::core
