// SPDX-License-Identifier: Apache-2.0
// A counted node of a file system, given back at the end.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "encfs/core/filesystem.h"

namespace extencfs::migrate {

class NodeRef {
  public:
    // Takes over the one reference that an Entry of `fs` has counted.
    NodeRef(core::Filesystem& fs, core::NodeId node) : fs_(&fs), node_(node) {}
    ~NodeRef() {
        if (fs_ != nullptr && node_ != core::kRootNode) fs_->forget(node_, 1);
    }
    NodeRef(NodeRef&& other) noexcept
        : fs_(std::exchange(other.fs_, nullptr)), node_(other.node_) {}
    NodeRef& operator=(NodeRef&&) = delete;

    core::NodeId id() const { return node_; }

  private:
    core::Filesystem* fs_;  // nullptr once moved from
    core::NodeId node_;
};

// A directory is used by everything below it.
using SharedNode = std::shared_ptr<const NodeRef>;

inline SharedNode root_of(core::Filesystem& fs) {
    return std::make_shared<const NodeRef>(fs, core::kRootNode);
}

// What lies at `path` ("a/b"; "" is the root), with its attributes.
struct Found {
    NodeRef node;
    struct stat attr;
};
core::Result<Found> find(core::Filesystem& fs, core::NodeId parent, std::string_view name);
core::Result<Found> find_path(core::Filesystem& fs, std::string_view path);

// "a" and "b" are "a/b", "" and "b" are "b".
std::string join(std::string_view directory, std::string_view name);
// The directory of "a/b" is "a", its name "b".
std::pair<std::string_view, std::string_view> split(std::string_view path);

}  // namespace extencfs::migrate
