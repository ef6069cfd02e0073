// SPDX-License-Identifier: Apache-2.0
// Requests about directories as files.
#include <dirent.h>
#include <sys/stat.h>

#include <cerrno>
#include <vector>

#include "encfs/fuse/reply.h"
#include "encfs/fuse/state.h"

namespace extencfs::fuse {

namespace {

void op_opendir(fuse_req_t req, fuse_ino_t, struct fuse_file_info* info) {
    auto& state = begin(req, Opcode::kOpendir);
    if (state.features.no_opendir) {
        reply_switch_off(req);
        return;
    }
    struct fuse_file_info out = *info;
    out.cache_readdir = state.features.keep_cache;
    out.keep_cache = state.features.keep_cache;
    fuse_reply_open(req, &out);
}

void list(fuse_req_t req, Session::State& state, fuse_ino_t node, std::size_t size, off_t cookie,
          core::ListMode mode) {
    static thread_local std::vector<char> buffer;
    if (buffer.size() < size) buffer.resize(size);
    std::size_t used = 0;
    std::vector<core::NodeId> given;  // references to give back if the reply is lost
    auto r = state.fs.list(
        node, static_cast<std::uint64_t>(cookie), mode, [&](const core::ListedEntry& listed) {
            const std::string name(listed.name);
            const auto next = static_cast<off_t>(listed.cookie);
            std::size_t needed;
            if (mode == core::ListMode::kWithAttributes) {
                struct fuse_entry_param param {};
                if (listed.entry != nullptr) {
                    param = entry_param(*listed.entry, state);
                } else {
                    param.attr.st_ino = listed.ino;
                    param.attr.st_mode = DTTOIF(listed.type);
                }
                needed = fuse_add_direntry_plus(req, buffer.data() + used, size - used,
                                                name.c_str(), &param, next);
            } else {
                struct stat attr {};
                attr.st_ino = listed.ino;
                attr.st_mode = DTTOIF(listed.type);
                needed = fuse_add_direntry(req, buffer.data() + used, size - used, name.c_str(),
                                           &attr, next);
            }
            if (needed > size - used) return false;
            used += needed;
            if (listed.entry != nullptr) given.push_back(listed.entry->node);
            return true;
        });
    if (!r && used == 0) return reply_error(req, r.error());
    if (fuse_reply_buf(req, buffer.data(), used) != 0) {
        for (auto lost : given) state.fs.forget(lost, 1);
    }
}

void op_readdir(fuse_req_t req, fuse_ino_t node, std::size_t size, off_t cookie,
                struct fuse_file_info*) {
    list(req, begin(req, Opcode::kReaddir), node, size, cookie, core::ListMode::kNames);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t node, std::size_t size, off_t cookie,
                    struct fuse_file_info*) {
    list(req, begin(req, Opcode::kReaddirplus), node, size, cookie,
         core::ListMode::kWithAttributes);
}

void op_releasedir(fuse_req_t req, fuse_ino_t, struct fuse_file_info*) {
    begin(req, Opcode::kReleasedir);
    reply_done(req);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t node, int, struct fuse_file_info*) {
    auto& state = begin(req, Opcode::kFsyncdir);
    reply(req, state.fs.fsync_directory(node));
}

}  // namespace

void add_directory_operations(struct fuse_lowlevel_ops& ops) {
    ops.opendir = op_opendir;
    ops.readdir = op_readdir;
    ops.readdirplus = op_readdirplus;
    ops.releasedir = op_releasedir;
    ops.fsyncdir = op_fsyncdir;
}

}  // namespace extencfs::fuse
