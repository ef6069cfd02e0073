// SPDX-License-Identifier: Apache-2.0
// Converts the files of a volume one after the other: each is copied, durable and recorded before
// its old one is removed (JOURNAL.md "In place", steps 5 to 7). Goes on where an earlier run ended.
// Knows nothing of where the new volume lies.
#pragma once

#include <string>
#include <unordered_set>
#include <vector>

#include "encfs/migrate/journal.h"
#include "encfs/migrate/listing.h"
#include "encfs/migrate/node_copy.h"
#include "encfs/migrate/survey.h"

namespace extencfs::migrate {

// All of it outlives the copy.
struct InPlaceVolumes {
    core::Filesystem& from;
    core::Filesystem& to;
    lower::LowerFs& lower;
    int root;                // of both: they lie on one lower file system
    LeftOutNames& left_out;  // told by `from`
};

enum class Compare : std::uint8_t { kNo, kBeforeRemoval };

struct InPlaceOptions {
    Compare compare = Compare::kNo;
    // So much is recorded and removed together.
    std::size_t commit_files = 512;
    std::uint64_t commit_bytes = 64 * 1024 * 1024;
};

struct InPlaceCounts {
    std::uint64_t skipped_files = 0;  // copied by an earlier run, which did not remove them all
    std::uint64_t copied_files = 0;
    std::uint64_t removed_files = 0;
    // Read back and compared before their old ones were removed.
    std::uint64_t verified_files = 0;
    std::uint64_t verified_directories = 0;
    std::uint64_t verified_bytes = 0;
    std::uint64_t differences = 0;
    bool keep_root_attributes = false;
};

// THREADS: one.
class InPlaceCopy {
  public:
    InPlaceCopy(const InPlaceVolumes& volumes, Journal& journal, const HardLinks& links,
                const InPlaceOptions& options, Problems& problems, Progress& progress);

    // Everything that can be read and kept is in the new volume, durable, and gone from the old
    // one; everything else is told, and in the old one as it was. ERRORS: kOther (a disk is full,
    // for example): run again to go on.
    Outcome<InPlaceCounts> run();

  private:
    struct Directory {
        SharedNode old;
        SharedNode made;
        std::size_t parent;  // in directories_
        std::size_t depth;
        std::string name;
        std::string path;
        struct stat attr;  // before anything was removed from it
        bool keep = false;
    };
    // All names of one thing.
    struct Item {
        const Directory& directory;  // of the first name
        NodeRef old;
        struct stat attr;
        std::vector<std::string> paths;
    };

    // in_place_directories.cc
    void make_directories();
    void make_directory(std::size_t parent, Listed one);
    void record_directories();
    void finish_directories();
    void finish_directory(Directory& directory);
    void remove_directories();
    void remove_directory(const Directory& directory);

    // in_place_copy.cc
    void convert_files(const Directory& directory);
    void convert(const Item& item);
    // Whether all its names are there, as an earlier run recorded.
    bool is_there(const Item& item);
    enum class Made : std::uint8_t { kYes, kLeft, kFull, kFailed };
    Made make(const Item& item);
    Made tell(const CopyError& error, const Item& item);
    core::Result<void> link_others(const Item& item);
    bool compare(const Item& item);
    core::Result<void> clear(const std::vector<std::string>& paths);
    void leave(const Item& item, const std::vector<Problem>& why);
    void commit();
    void remove_old(const std::string& path);
    bool sync();
    void stop(const std::string& path, const core::Error& error);

    const InPlaceVolumes volumes_;
    Journal& journal_;
    const HardLinks& links_;
    const InPlaceOptions options_;
    Problems& problems_;
    Progress& progress_;
    Stop stop_;
    NodeCopier copier_;
    std::vector<Directory> directories_;    // parents first; the root is the first
    std::unordered_set<std::string> told_;  // paths that the first look told of
    std::vector<Record> done_;              // copied, not recorded yet
    std::vector<std::string> going_;        // old names of what is recorded next
    std::uint64_t going_bytes_ = 0;
    std::atomic<std::uint64_t> compared_bytes_{0};
    InPlaceCounts counts_;
};

}  // namespace extencfs::migrate
