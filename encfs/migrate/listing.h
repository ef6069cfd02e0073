// SPDX-License-Identifier: Apache-2.0
// A directory's entries, some at a time, so that nothing of the directory is held while they are
// worked on.
#pragma once

#include <string>
#include <vector>

#include "encfs/migrate/node_ref.h"
#include "encfs/migrate/report.h"

namespace extencfs::migrate {

struct Listed {
    std::string name;
    NodeRef node;
    struct stat attr;
};

class Listing {
  public:
    // `path`: for what is told. `problems`, `left_out`: nullptr where nobody is told.
    Listing(core::Filesystem& fs, core::NodeId directory, std::string path, Problems* problems,
            LeftOutNames* left_out)
        : fs_(fs),
          directory_(directory),
          path_(std::move(path)),
          problems_(problems),
          left_out_(left_out) {}

    // The next entries, none at the end. What cannot be looked up is told, and left out.
    core::Result<std::vector<Listed>> next();

  private:
    core::Filesystem& fs_;
    core::NodeId directory_;
    std::string path_;
    Problems* problems_;
    LeftOutNames* left_out_;
    std::uint64_t cookie_ = 0;
    bool ended_ = false;
};

}  // namespace extencfs::migrate
