// SPDX-License-Identifier: Apache-2.0
// Copies one thing from a volume to another: contents with their holes, and everything that is told
// of it. Knows nothing of trees and journals.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "encfs/core/filesystem.h"
#include "encfs/migrate/node_ref.h"
#include "encfs/migrate/report.h"

namespace extencfs::migrate {

// Whose fault it was that something could not be copied.
struct CopyError {
    enum class Side : std::uint8_t {
        kOld,   // it cannot be read
        kKind,  // the new place does not take this kind of thing (a device, for example)
        kNew,   // the new volume cannot be written: nothing will go on
    };
    Side side;
    core::Error error;
};

template <typename T>
using Copied = std::expected<T, CopyError>;

// Whether an attribute may be there already that the old one does not have.
enum class Fresh : std::uint8_t { kYes, kNo };

// Where something is told of an old path.
struct Told {
    Problems& problems;
    const std::string& path;
    void add(ProblemKind kind, std::string what) const {
        problems.add(kind, path, std::move(what));
    }
};

// Between two volumes. THREADS: any, in parallel, each with its own names.
class NodeCopier {
  public:
    NodeCopier(core::Filesystem& from, core::Filesystem& to, Progress& progress, const Stop& stop)
        : from_(from), to_(to), progress_(progress), stop_(stop) {}

    // Anything but a directory, as a name that is free. What could be read in part only is not
    // there afterwards.
    Copied<void> copy(core::NodeId old, const struct stat& attr, core::NodeId new_parent,
                      std::string_view name, Fresh fresh, const Told& told);
    // Extended attributes, ACLs, owner, mode and times of what is there. `is`: its own ones.
    // Attributes that cannot be kept are told.
    Copied<void> copy_attributes(core::NodeId old, const struct stat& attr, core::NodeId made,
                                 const struct stat& is, Fresh fresh, const Told& told);

  private:
    Copied<core::Entry> make(core::NodeId old, const struct stat& attr, core::NodeId new_parent,
                             std::string_view name);
    Copied<void> copy_contents(core::NodeId old, const struct stat& attr, core::NodeId made);
    Copied<void> copy_range(core::NodeId old, core::NodeId made, std::uint64_t off,
                            std::uint64_t end);
    // Nothing: they could not be listed, which is told.
    using Names = std::optional<std::vector<std::string>>;
    enum class Attributes : std::uint8_t { kPlain, kAcls };
    Names xattrs_of(core::NodeId old, const struct stat& attr, const Told& told);
    Copied<void> copy_xattrs(core::NodeId old, const Names& names, core::NodeId made,
                             const Told& told, Attributes which);
    Copied<void> remove_others(const Names& names, core::NodeId made, const Told& told);
    Copied<void> set_owner(const struct stat& attr, core::NodeId made, const struct stat& is,
                           const Told& told);
    // An attribute could not be set: told, or (the disk is full) an error.
    Copied<void> not_kept(const core::Error& error, const Told& told, const std::string& attribute);

    core::Filesystem& from_;
    core::Filesystem& to_;
    Progress& progress_;
    const Stop& stop_;
};

}  // namespace extencfs::migrate
