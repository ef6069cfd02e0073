// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/directory_copy.h"

#include <sys/stat.h>

namespace extencfs::migrate {

namespace {
constexpr mode_t kWhileCopied = 0700;
}  // namespace

core::Result<Found> make_directory(core::Filesystem& to, core::NodeId parent,
                                   const std::string& name) {
    auto made = to.mkdir(parent, name, kWhileCopied, {});
    if (!made) return std::unexpected(made.error());
    return Found{NodeRef(to, made->node), made->attr};
}

core::Result<Found> make_directory_again(core::Filesystem& to, core::NodeId parent,
                                         const std::string& name) {
    // An empty one is made again: it may have lost what the name of a longer one is kept in.
    // Another was durable before anything was made in it.
    (void)to.rmdir(parent, name);
    auto there = find(to, parent, name);
    if (there && S_ISDIR(there->attr.st_mode)) {
        // An earlier run may have come as far as its mode.
        if ((there->attr.st_mode & kWhileCopied) == kWhileCopied) return there;
        core::AttrChange change;
        change.mode_set = true;
        change.mode = (there->attr.st_mode & 07777) | kWhileCopied;
        if (auto r = to.setattr(there->node.id(), change); !r) return std::unexpected(r.error());
        return there;
    }
    if (there) {
        if (auto r = to.unlink(parent, name); !r) return std::unexpected(r.error());
    }
    return make_directory(to, parent, name);
}

}  // namespace extencfs::migrate
