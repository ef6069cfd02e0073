// SPDX-License-Identifier: Apache-2.0
// Requests about extended attributes.
#include <cerrno>

#include "encfs/fuse/reply.h"
#include "encfs/fuse/state.h"

namespace extencfs::fuse {

namespace {

// xattr(7): size 0 asks for the size.
void reply_value(fuse_req_t req, Bytes value, std::size_t size) {
    if (size == 0) {
        fuse_reply_xattr(req, value.size());
    } else if (value.size() > size) {
        reply_error(req, {core::ErrorKind::kRange});
    } else {
        fuse_reply_buf(req, reinterpret_cast<const char*>(value.data()), value.size());
    }
}

// Without extended attributes the kernel is told so once, and does not ask again.
bool switched_off(fuse_req_t req, const Session::State& state) {
    if (state.options.no_xattr) reply_switch_off(req);
    return state.options.no_xattr;
}

void op_getxattr(fuse_req_t req, fuse_ino_t node, const char* name, std::size_t size) {
    auto& state = begin(req, Opcode::kGetxattr);
    if (switched_off(req, state)) return;
    auto value = state.fs.get_xattr(node, name);
    if (!value) return reply_error(req, value.error());
    reply_value(req, *value, size);
}

void op_setxattr(fuse_req_t req, fuse_ino_t node, const char* name, const char* value,
                 std::size_t size, int flags) {
    auto& state = begin(req, Opcode::kSetxattr);
    if (switched_off(req, state)) return;
    // The kernel's flag for it (FUSE_SETXATTR_ACL_KILL_SGID) is not passed on by libfuse: whoever
    // is not root has no CAP_FSETID, and groups are asked for only where the bit is set.
    const bool kill = fuse_req_ctx(req)->uid != 0;
    reply(req, state.fs.set_xattr(node, name, std::as_bytes(std::span(value, size)), flags,
                                  privilege_of(req, kill)));
}

void op_listxattr(fuse_req_t req, fuse_ino_t node, std::size_t size) {
    auto& state = begin(req, Opcode::kListxattr);
    if (switched_off(req, state)) return;
    auto names = state.fs.list_xattr(node);
    if (!names) return reply_error(req, names.error());
    std::string all;
    const bool admin = fuse_req_ctx(req)->uid == 0;
    for (const auto& name : *names) {
        if (!admin && name.starts_with("trusted.")) continue;  // xattr(7)
        all += name;
        all += '\0';
    }
    reply_value(req, bytes_of(all), size);
}

void op_removexattr(fuse_req_t req, fuse_ino_t node, const char* name) {
    auto& state = begin(req, Opcode::kRemovexattr);
    if (switched_off(req, state)) return;
    reply(req, state.fs.remove_xattr(node, name));
}

}  // namespace

void add_xattr_operations(struct fuse_lowlevel_ops& ops) {
    ops.getxattr = op_getxattr;
    ops.setxattr = op_setxattr;
    ops.listxattr = op_listxattr;
    ops.removexattr = op_removexattr;
}

}  // namespace extencfs::fuse
