// SPDX-License-Identifier: Apache-2.0
// The extended attributes of one file or directory, sealed under the newest generation (FORMAT.md
// "Rotation of keys"): first beside the old ones, which go later. Where an inode has no room for
// both, by way of a file in the root.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "encfs/rotate/tools.h"

namespace extencfs::rotate {

// An open file or directory, and the id that its attributes are bound to.
struct AttributeOwner {
    int fd;  // not O_PATH
    ByteArray<16> id;
};

class Attributes {
  public:
    // Looks which attributes an earlier run kept in the root. `tools` outlives this.
    static lower::Result<Attributes> look(const Tools& tools);

    // Whether one of them is of an older generation, or waits in the root. ERRORS: the errno.
    lower::Result<bool> any_older(const AttributeOwner& owner) const;
    // Every attribute gets its new form. Returns how many open under no key; they stay as they are.
    // THREADS: any; one for an owner. ERRORS: the errno.
    lower::Result<std::uint64_t> seal(const AttributeOwner& owner) const;
    // What seal() kept in the root for that owner goes. Without it a later run would set its
    // attributes as they were then. REQUIRES: they are durable. ERRORS: the errno.
    lower::Result<void> drop_kept(const AttributeOwner& owner) const;
    // The old forms go. Returns how many of those that had no new one stay. ERRORS: the errno.
    lower::Result<std::uint64_t> clean(const AttributeOwner& owner) const;

  private:
    struct Sealed {
        std::string old_name;  // empty: not known any more
        std::string name;
        ByteVector value;
    };
    explicit Attributes(const Tools& tools) : tools_(&tools) {}
    lower::Result<std::vector<std::string>> own_names(int fd) const;
    lower::Result<std::vector<Sealed>> seal_all(const AttributeOwner& owner,
                                                std::uint64_t& damaged) const;
    // Whether the names of all of them fit in a list of names together with those that are there:
    // past XATTR_LIST_MAX an inode's attributes can be set, but never be listed.
    lower::Result<bool> fit_beside(const AttributeOwner& owner,
                                   const std::vector<Sealed>& all) const;
    lower::Result<void> by_way_of_root(const AttributeOwner& owner,
                                       const std::vector<Sealed>& all) const;
    lower::Result<void> take_from_root(const AttributeOwner& owner, const std::string& name) const;
    lower::Result<void> put_in_place(const AttributeOwner& owner,
                                     const std::vector<Sealed>& all) const;

    struct Kept {
        std::mutex mutex;
        std::set<std::string> names;  // of files in the root
    };
    bool is_kept(const AttributeOwner& owner) const;
    void forget_kept(const AttributeOwner& owner) const;

    const Tools* tools_;  // not owned
    std::unique_ptr<Kept> kept_ = std::make_unique<Kept>();
};

}  // namespace extencfs::rotate
