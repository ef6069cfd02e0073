// SPDX-License-Identifier: Apache-2.0
// Copies a whole volume, and goes on where an earlier run ended.
//
// The order that makes it resumable: a file is made under its own name; when some are made, the new
// volume's file system is synced, and only then the journal says that they are done. What is there
// and not in the journal was cut short, and is made again. Hard links come after all files, and
// what is told of directories comes last, as everything before would change it.
#pragma once

#include <chrono>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

#include "encfs/migrate/journal.h"
#include "encfs/migrate/listing.h"
#include "encfs/migrate/node_copy.h"
#include "encfs/migrate/survey.h"
#include "encfs/migrate/work_pool.h"

namespace extencfs::migrate {

// What it works on; all of it outlives the copy.
struct Volumes {
    core::Filesystem& from;  // read-only
    core::Filesystem& to;
    lower::LowerFs& to_lower;
    int to_root;
    LeftOutNames& left_out;  // told by `from`
};

struct CopyOptions {
    unsigned jobs = 1;
    // The journal is written when so many are done, or the last time was so long ago.
    std::size_t commit_files = 8192;
    std::chrono::milliseconds commit_every{500};
};

class TreeCopy {
  public:
    // `fresh`: the new volume was empty when the journal was made.
    TreeCopy(const Volumes& volumes, Journal& journal, const HardLinks& links, Fresh fresh,
             const CopyOptions& options, Problems& problems, Progress& progress);

    // Everything, durable, and the journal says so: whatever could not be read or kept is told and
    // counted. ERRORS: kOther (the new volume cannot be written: it is full, for example).
    Outcome<void> run();

  private:
    struct Directory {
        SharedNode old;
        SharedNode made;
        struct stat attr;  // of the old one
        std::string path;
        std::size_t depth = 0;
    };
    struct File {
        NodeRef old;
        struct stat attr;
        SharedNode directory;  // the new one
        std::string name;
        std::string path;
    };

    core::Result<void> copy_directory(const Directory& directory);
    void take_directory(const Directory& parent, Listed one, std::string path);
    // Whether it is there as an earlier run made it.
    bool is_there(core::NodeId directory, const Listed& one);
    void copy_file(const File& file);
    void copy_links();
    void copy_link(core::NodeId first, const std::string& path);
    void finish_directories();
    // Makes the name free, where an earlier run left something.
    core::Result<void> clear(core::NodeId directory, std::string_view name);
    void tell(const CopyError& error, const std::string& path);
    void commit_if_due();
    void commit();
    Outcome<void> sync();

    const Volumes volumes_;
    Journal& journal_;
    const HardLinks& links_;
    const Fresh fresh_;
    const CopyOptions options_;
    Problems& problems_;
    Progress& progress_;
    Stop stop_;
    NodeCopier copier_;
    std::deque<Directory> waiting_;  // level by level
    std::vector<Directory> seen_;    // parents first
    std::chrono::steady_clock::time_point committed_ = std::chrono::steady_clock::now();
    std::mutex mutex_;
    std::vector<Record> done_;  // guarded by mutex_
    WorkPool pool_;
};

}  // namespace extencfs::migrate
