// SPDX-License-Identifier: Apache-2.0
// What the hooks are called, and which request each spares.
#include <linux/fuse.h>

#include "encfs/meta/loader.h"

namespace extencfs::meta {

namespace {
struct Hook {
    const char* name;
    std::uint32_t opcode;
};

// In the order of enum xf_hook.
constexpr Hook kHooks[] = {
    {"request", 0},
    {"inode_permission", FUSE_LOOKUP},
    {"inode_getattr", FUSE_GETATTR},
    {"inode_setattr", FUSE_SETATTR},
    {"inode_getxattr", FUSE_GETXATTR},
    {"inode_setxattr", FUSE_SETXATTR},
    {"inode_listxattr", FUSE_LISTXATTR},
    {"inode_removexattr", FUSE_REMOVEXATTR},
    {"inode_get_acl", FUSE_GETXATTR},
    {"inode_set_acl", FUSE_SETXATTR},
    {"inode_remove_acl", FUSE_REMOVEXATTR},
    {"inode_readlink", FUSE_READLINK},
    {"file_open", FUSE_OPEN},
    {"sb_statfs", FUSE_STATFS},
    {"path_notify", 0},
    {"inode_link", FUSE_LINK},
    {"lower", 0},
};
static_assert(std::size(kHooks) == XF_HOOK_COUNT);
}  // namespace

const char* hook_name(std::uint32_t hook) {
    return hook < std::size(kHooks) ? kHooks[hook].name : "unknown";
}

std::uint32_t hook_opcode(std::uint32_t hook) {
    return hook < std::size(kHooks) ? kHooks[hook].opcode : 0;
}

}  // namespace extencfs::meta
