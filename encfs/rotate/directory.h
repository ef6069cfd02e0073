// SPDX-License-Identifier: Apache-2.0
// One lower directory of a volume in rotation: which names it has, of which generation, and its id
// file. Changes nothing but the id file.
#pragma once

#include <memory>
#include <optional>

#include "encfs/rotate/tools.h"

namespace extencfs::rotate {

struct OpenDir {
    lower::Fd fd;
    volume::DirId id{};
    std::string path;  // lower, below the volume's directory
    std::uint64_t ino = 0;
};
using Dir = std::shared_ptr<OpenDir>;

struct Item {
    std::string entry;
    std::string plain;
    const volume::GenerationKeys* keys;  // under which the name decodes
    struct stat is {};
};

struct Listing {
    std::vector<Item> items;
    std::vector<std::string> side_files;  // of long names
    std::vector<std::string> unfinished;  // extencfs.t.*
    std::vector<std::string> unknown;     // texts of the encoding that decode under no key
};
daemon::Outcome<Listing> list(const Tools& tools, const OpenDir& dir);

struct IdFile {
    lower::Fd fd;
    volume::DirFile dir;
    const volume::GenerationKeys* keys;  // that authenticate it
};
// A directory in another one, open. Without `id_file` it has none, and nothing in it.
struct Child {
    Dir dir;
    std::optional<IdFile> id_file;
};
// nullopt: its id file is damaged, or it is not where it belongs; told to `damages`.
daemon::Outcome<std::optional<Child>> open_child(const Tools& tools, const OpenDir& parent,
                                                 const Item& item, Damages& damages);
// Whether the directory of that id file may be `entry` in `parent`, by its keys.
bool is_valid_at(const IdFile& file, const volume::DirId& parent, const std::string& entry);
daemon::Outcome<Dir> open_root(const Tools& tools);

// Opens what its owner may not by its mode, and leaves the mode lifted then. ERRORS: the errno.
lower::Result<lower::Fd> open_lifted(const Tools& tools, int dirfd, const Item& item, int flags);

// Makes the id file one of the newest generation that is valid at the entry `here` and, unless it
// is empty, at `next`; `under`: of the names in it, as far as they are older. ERRORS: the errno.
lower::Result<void> write_id_file(const Tools& tools, const OpenDir& parent, const IdFile& file,
                                  std::uint32_t under, const std::string& here,
                                  const std::string& next);

}  // namespace extencfs::rotate
