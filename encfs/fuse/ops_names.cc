// SPDX-License-Identifier: Apache-2.0
// Requests about names and attributes.
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "encfs/fuse/reply.h"
#include "encfs/fuse/state.h"

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE (1 << 0)
#define RENAME_EXCHANGE (1 << 1)
#endif

namespace extencfs::fuse {

namespace {

// Replies with an entry; a reply that the kernel did not take gives the reference back.
void finish(fuse_req_t req, Session::State& state, const core::Result<core::Entry>& entry) {
    if (!entry) return reply_error(req, entry.error());
    if (!reply_entry(req, *entry, state)) state.fs.forget(entry->node, 1);
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
    auto& state = begin(req, Opcode::kLookup);
    auto entry = state.fs.lookup(parent, name);
    if (!entry && entry.error().kind == core::ErrorKind::kNotFound &&
        state.features.negative_timeout_s > 0) {
        struct fuse_entry_param absent {};
        absent.entry_timeout = state.features.negative_timeout_s;
        fuse_reply_entry(req, &absent);
        return;
    }
    finish(req, state, entry);
}

// Beside the rings one thread has nothing to receive but these, for which nobody waits: it lets
// some gather, so that whoever causes them need not wake it for each.
constexpr std::chrono::milliseconds kBetweenForgets{2};
void let_some_gather(const Session::State& state) {
    if (state.features.uring) std::this_thread::sleep_for(kBetweenForgets);
}

void op_forget(fuse_req_t req, fuse_ino_t node, std::uint64_t count) {
    auto& state = begin(req, Opcode::kForget);
    state.fs.forget(node, count);
    fuse_reply_none(req);
    let_some_gather(state);
}

void op_forget_multi(fuse_req_t req, std::size_t count, struct fuse_forget_data* forgets) {
    auto& state = begin(req, Opcode::kBatchForget);
    for (std::size_t i = 0; i < count; ++i) state.fs.forget(forgets[i].ino, forgets[i].nlookup);
    fuse_reply_none(req);
    let_some_gather(state);
}

void reply_attr(fuse_req_t req, Session::State& state, core::NodeId node,
                const core::Result<struct stat>& attr) {
    if (!attr) return reply_error(req, attr.error());
    fuse_reply_attr(req, &*attr, attr_timeout_of(state, node, *attr));
}

void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info*) {
    auto& state = begin(req, Opcode::kGetattr);
    reply_attr(req, state, node, state.fs.getattr(node));
}

void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat* attr, int to_set,
                struct fuse_file_info*) {
    auto& state = begin(req, Opcode::kSetattr);
    core::AttrChange change;
    change.mode_set = to_set & FUSE_SET_ATTR_MODE;
    change.uid_set = to_set & FUSE_SET_ATTR_UID;
    change.gid_set = to_set & FUSE_SET_ATTR_GID;
    change.size_set = to_set & FUSE_SET_ATTR_SIZE;
    change.atime_set = to_set & (FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW);
    change.mtime_set = to_set & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW);
    constexpr int kKillSuid = 1 << 11;  // FUSE_SET_ATTR_KILL_SUID of libfuse >= 3.17
    change.kill = privilege_of(req, (to_set & kKillSuid) != 0);
    change.mode = attr->st_mode;
    change.uid = attr->st_uid;
    change.gid = attr->st_gid;
    change.size = static_cast<std::uint64_t>(attr->st_size);
    change.atime = attr->st_atim;
    change.mtime = attr->st_mtim;
    if (to_set & FUSE_SET_ATTR_ATIME_NOW) change.atime.tv_nsec = UTIME_NOW;
    if (to_set & FUSE_SET_ATTR_MTIME_NOW) change.mtime.tv_nsec = UTIME_NOW;
    const auto changed = state.fs.setattr(node, change);
    // A part of it may be done, and the kernel keeps what it knew when it is told of a failure.
    // With no range of pages this waits for nothing.
    if (!changed) fuse_lowlevel_notify_inval_inode(state.session, node, -1, 0);
    reply_attr(req, state, node, changed);
}

void op_readlink(fuse_req_t req, fuse_ino_t node) {
    auto& state = begin(req, Opcode::kReadlink);
    auto target = state.fs.readlink(node);
    if (!target) return reply_error(req, target.error());
    fuse_reply_readlink(req, target->c_str());
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
    auto& state = begin(req, Opcode::kMknod);
    finish(req, state, state.fs.mknod(parent, name, mode, rdev, caller_of(req)));
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
    auto& state = begin(req, Opcode::kMkdir);
    finish(req, state, state.fs.mkdir(parent, name, mode, caller_of(req)));
}

void op_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
    auto& state = begin(req, Opcode::kSymlink);
    finish(req, state, state.fs.symlink(parent, name, target, caller_of(req)));
}

void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t parent, const char* name) {
    auto& state = begin(req, Opcode::kLink);
    finish(req, state, state.fs.link(node, parent, name));
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
    auto& state = begin(req, Opcode::kUnlink);
    reply(req, state.fs.unlink(parent, name));
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
    auto& state = begin(req, Opcode::kRmdir);
    reply(req, state.fs.rmdir(parent, name));
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
               const char* new_name, unsigned flags) {
    auto& state = begin(req, Opcode::kRename);
    auto mode = lower::RenameMode::kReplace;
    if (flags == RENAME_NOREPLACE)
        mode = lower::RenameMode::kNoReplace;
    else if (flags == RENAME_EXCHANGE)
        mode = lower::RenameMode::kExchange;
    else if (flags != 0)
        return reply_error(req, {core::ErrorKind::kInvalid});
    reply(req, state.fs.rename(parent, name, new_parent, new_name, mode));
}

void op_statfs(fuse_req_t req, fuse_ino_t) {
    auto& state = begin(req, Opcode::kStatfs);
    auto is = state.fs.statfs();
    if (!is) return reply_error(req, is.error());
    fuse_reply_statfs(req, &*is);
}

}  // namespace

void add_name_operations(struct fuse_lowlevel_ops& ops) {
    ops.lookup = op_lookup;
    ops.forget = op_forget;
    ops.forget_multi = op_forget_multi;
    ops.getattr = op_getattr;
    ops.setattr = op_setattr;
    ops.readlink = op_readlink;
    ops.mknod = op_mknod;
    ops.mkdir = op_mkdir;
    ops.symlink = op_symlink;
    ops.link = op_link;
    ops.unlink = op_unlink;
    ops.rmdir = op_rmdir;
    ops.rename = op_rename;
    ops.statfs = op_statfs;
}

}  // namespace extencfs::fuse
