// SPDX-License-Identifier: Apache-2.0
// Replies: the only place that turns a core::Error into an errno for the kernel. After a reply the
// request and everything that libfuse passed with it are gone.
#pragma once

#include <fuse_lowlevel.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "encfs/core/error.h"
#include "encfs/core/types.h"
#include "encfs/fuse/features.h"
#include "encfs/fuse/state.h"

namespace extencfs::fuse {

inline void reply_error(fuse_req_t req, const core::Error& error) {
    fuse_reply_err(req, core::errno_of(error));
}

// Of a request that did not get as far as the file system.
inline void reply_errno(fuse_req_t req, int error) {
    fuse_reply_err(req, error);
}

inline void reply_done(fuse_req_t req) {
    fuse_reply_err(req, 0);
}

// Switches the operation off for the whole mount: the kernel does without, and does not ask again.
inline void reply_switch_off(fuse_req_t req) {
    fuse_reply_err(req, ENOSYS);
}

inline void reply_not_a_device(fuse_req_t req) {
    fuse_reply_err(req, ENOTTY);
}

inline void reply(fuse_req_t req, const core::Result<void>& result) {
    fuse_reply_err(req, result ? 0 : core::errno_of(result.error()));
}

inline double attr_timeout_of(Session::State& state, core::NodeId node, const struct stat& attr) {
    return state.fs.is_link_count_steady(node, attr) ? state.features.attr_timeout_s : 0;
}

inline struct fuse_entry_param entry_param(const core::Entry& entry, Session::State& state) {
    struct fuse_entry_param out {};
    out.ino = entry.node;
    out.attr = entry.attr;
    out.attr_timeout = attr_timeout_of(state, entry.node, entry.attr);
    out.entry_timeout = state.features.entry_timeout_s;
    return out;
}

// True when the kernel took it; otherwise the caller gives the reference back.
inline bool reply_entry(fuse_req_t req, const core::Entry& entry, Session::State& state) {
    const auto out = entry_param(entry, state);
    return fuse_reply_entry(req, &out) == 0;
}

inline core::Caller caller_of(fuse_req_t req) {
    const struct fuse_ctx* context = fuse_req_ctx(req);
    return {context->uid, context->gid, context->umask};
}

// Whether a change takes set-user-ID and set-group-ID away. The groups of the caller are asked for
// only if it comes to that: they are read from /proc.
inline core::KillPrivilege privilege_of(fuse_req_t req, bool wanted) {
    if (!wanted) return {};
    return {true, [req](gid_t gid) {
                if (fuse_req_ctx(req)->gid == gid) return true;
                std::vector<gid_t> groups(64);
                int count = fuse_req_getgroups(req, static_cast<int>(groups.size()), groups.data());
                if (count > static_cast<int>(groups.size())) {
                    groups.resize(static_cast<std::size_t>(count));
                    count = fuse_req_getgroups(req, count, groups.data());
                }
                if (count < 0) return false;
                groups.resize(std::min(groups.size(), static_cast<std::size_t>(count)));
                return std::find(groups.begin(), groups.end(), gid) != groups.end();
            }};
}

}  // namespace extencfs::fuse
