// SPDX-License-Identifier: Apache-2.0
// The three walks of a rotation (FORMAT.md "Rotation of keys", steps 2 to 4). Each may be cut short
// anywhere and run again from the first.
#pragma once

#include <mutex>
#include <set>

#include "encfs/migrate/report.h"
#include "encfs/migrate/work_pool.h"
#include "encfs/rotate/attributes.h"
#include "encfs/rotate/directory.h"
#include "encfs/rotate/journal.h"
#include "encfs/rotate/symlinks.h"

namespace extencfs::rotate {

class Passes {
  public:
    // All of it outlives this.
    Passes(const Tools& tools, const Journal& journal, unsigned jobs, Damages& damages,
           Progress& progress)
        : tools_(tools),
          journal_(journal),
          jobs_(jobs),
          damages_(damages),
          progress_(progress),
          links_(tools) {}

    // Everything is of the newest generation, and durable, when it returns; but for what opens
    // under no key, which is told to `damages`. Whatever else stops it: run again. ERRORS: kOther.
    daemon::Outcome<void> run();
    // Whether every directory was reached.
    bool reached_all() const { return reached_all_; }

  private:
    using Walk = daemon::Outcome<void> (Passes::*)(const Dir&);
    daemon::Outcome<void> pass(Phase phase, Walk walk);

    daemon::Outcome<void> seal_directory(const Dir& dir);
    daemon::Outcome<void> seal_child(const Dir& dir, const Item& item,
                                     const std::string& new_entry);
    daemon::Outcome<void> write_side_file(const OpenDir& dir, const volume::LowerName& name);
    daemon::Outcome<void> seal_symlink(const OpenDir& dir, const Item& item);
    daemon::Outcome<void> seal_file(const OpenDir& dir, const Item& item);
    daemon::Outcome<void> seal_open_file(int fd, const std::string& path);
    // Whether nobody else has had this inode, which has several names.
    bool is_first(std::uint64_t ino);

    daemon::Outcome<void> rename_in(const Dir& dir);

    daemon::Outcome<void> clean_directory(const Dir& dir);
    daemon::Outcome<void> clean_child(const Dir& dir, const Item& item);
    daemon::Outcome<void> clean_file(const OpenDir& dir, const Item& item);
    daemon::Outcome<void> clean_symlink(const OpenDir& dir, const Item& item);
    daemon::Outcome<void> remove_unused(const OpenDir& dir, const Listing& listing);

    // Lets the owner change names in it; the journal has the mode.
    daemon::Outcome<void> lift(const OpenDir& dir);
    daemon::Outcome<void> give_back(int fd, std::uint64_t ino, const std::string& path);

    const Tools& tools_;
    const Journal& journal_;
    unsigned jobs_;
    Damages& damages_;
    Progress& progress_;
    Symlinks links_;
    const Attributes* attributes_ = nullptr;
    migrate::WorkPool* pool_ = nullptr;
    migrate::Stop stop_;
    std::mutex linked_mutex_;
    std::set<std::uint64_t> linked_;  // guarded by linked_mutex_
    bool reached_all_ = true;
    Damages known_;  // told already, in the first walk
};

}  // namespace extencfs::rotate
