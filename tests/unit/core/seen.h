// SPDX-License-Identifier: Apache-2.0
// All that can be read through a Filesystem, and whether it is something that a history allows.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "encfs/core/filesystem.h"
#include "tests/unit/core/upper_tree.h"

namespace extencfs::core {

struct SeenNode {
    mode_t type = 0;
    std::uint64_t ino = 0;
    std::uint64_t links = 0;
    std::string content;         // unreadable bytes are 0
    std::vector<bool> readable;  // of each byte of content
    bool damaged = false;        // a directory that does not list, a symlink that does not read
    bool listed = true;          // false: only a lookup of its name finds it
    std::map<std::string, std::string> xattrs;
};

struct Seen {
    std::map<std::string, SeenNode> nodes;  // by path
    std::vector<std::string> errors;        // anything but damage: never allowed
};

// Reads everything, and gives all references back. Names in `also` are looked up where a listing
// does not show them.
Seen read_all(Filesystem& fs, const std::set<std::string>& also = {});

// What may be there after a crash.
struct Allowed {
    const std::vector<UpperTree>* history;     // [i]: after i steps
    std::size_t first, last;                   // names are those of one of history[first..last]
    std::map<int, std::size_t> content_since;  // first allowed version of a node; else its creation
    std::map<int, bool> between;  // sizes between those of two versions are allowed as well
    bool losses = false;          // power was lost: what was not synced may be unreadable
    std::set<int> safe;           // nodes that must be listed and readable, whatever is lost
};

// What is wrong, in words; empty: nothing.
std::string fault_in(const Seen& seen, const Allowed& allowed);

}  // namespace extencfs::core
