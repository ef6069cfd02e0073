// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/features.h"

namespace extencfs::fuse {

namespace {

// The daemon is the only writer: the kernel need never ask again.
constexpr double kForever_s = 1e6;
constexpr double kShared_s = 1;
constexpr unsigned kMaxWriteBytes = 1024 * 1024;
constexpr unsigned kMaxBackground = 64;

bool want(struct fuse_conn_info* conn, unsigned long long flag) {
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    return fuse_set_feature_flag(conn, flag);
#else
    if ((conn->capable & flag) == 0) return false;
    conn->want |= static_cast<unsigned>(flag);
    return true;
#endif
}

void refuse(struct fuse_conn_info* conn, unsigned long long flag) {
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    fuse_unset_feature_flag(conn, flag);
#else
    conn->want &= ~static_cast<unsigned>(flag);
#endif
}

struct Row {
    unsigned long long flag;
    const char* name;
    bool for_shared;  // also where others change the lower directory
};

// What saves requests or copies, and is safe because this daemon is the only writer.
constexpr Row kOptional[] = {
    {FUSE_CAP_WRITEBACK_CACHE, "writeback_cache", false},
    {FUSE_CAP_READDIRPLUS, "readdirplus", true},
    {FUSE_CAP_READDIRPLUS_AUTO, "readdirplus_auto", true},
    {FUSE_CAP_PARALLEL_DIROPS, "parallel_dirops", true},
    {FUSE_CAP_CACHE_SYMLINKS, "cache_symlinks", false},
    {FUSE_CAP_EXPLICIT_INVAL_DATA, "explicit_inval_data", false},
    {FUSE_CAP_NO_OPEN_SUPPORT, "no_open", false},
    {FUSE_CAP_NO_OPENDIR_SUPPORT, "no_opendir", true},
    {FUSE_CAP_ASYNC_DIO, "async_dio", true},
    {FUSE_CAP_ASYNC_READ, "async_read", true},
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    {FUSE_CAP_DIRECT_IO_ALLOW_MMAP, "direct_io_allow_mmap", true},
#endif
};

}  // namespace

CacheTimes cache_times(const MountOptions& options) {
    if (options.mode == Mode::kRegular) return {0, 0, 0};
    if (options.shared) return {kShared_s, kShared_s, 0};
    return {kForever_s, kForever_s, kForever_s};
}

Features negotiate(struct fuse_conn_info* conn, const MountOptions& options) {
    Features features;
    conn->max_write = kMaxWriteBytes;
    conn->max_background = kMaxBackground;
    conn->congestion_threshold = kMaxBackground * 3 / 4;
    refuse(conn, FUSE_CAP_SPLICE_READ);
    refuse(conn, FUSE_CAP_SPLICE_WRITE);
    refuse(conn, FUSE_CAP_FLOCK_LOCKS);
    refuse(conn, FUSE_CAP_POSIX_LOCKS);
    refuse(conn, FUSE_CAP_HANDLE_KILLPRIV);
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    conn->no_interrupt = 1;  // no operation waits for anything but the disk
    features.uring = options.transport != Transport::kClassic &&
                     fuse_get_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
    if (!features.uring) fuse_unset_feature_flag(conn, FUSE_CAP_OVER_IO_URING);
#endif
    // Always: these make operations right, not fast.
    if (!options.no_xattr) want(conn, FUSE_CAP_POSIX_ACL);
    want(conn, FUSE_CAP_DONT_MASK);
    // O_TRUNC as a SETATTR of its own says whether set-user-ID has to go.
    refuse(conn, FUSE_CAP_ATOMIC_O_TRUNC);
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    if (want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2)) features.on.emplace_back("handle_killpriv_v2");
#endif
    if (options.mode == Mode::kRegular) {
        refuse(conn, FUSE_CAP_READDIRPLUS);
        refuse(conn, FUSE_CAP_READDIRPLUS_AUTO);
        return features;
    }
    for (const Row& row : kOptional) {
        if (options.shared && !row.for_shared) {
            refuse(conn, row.flag);
        } else if (want(conn, row.flag)) {
            features.on.emplace_back(row.name);
            if (row.flag == FUSE_CAP_NO_OPEN_SUPPORT) features.no_open = true;
            if (row.flag == FUSE_CAP_NO_OPENDIR_SUPPORT) features.no_opendir = true;
            if (row.flag == FUSE_CAP_WRITEBACK_CACHE) features.writeback = true;
            if (row.flag == FUSE_CAP_EXPLICIT_INVAL_DATA) refuse(conn, FUSE_CAP_AUTO_INVAL_DATA);
        } else {
            features.notes.push_back(std::string(row.name) + ": this kernel does not have it");
        }
    }
    const CacheTimes times = cache_times(options);
    features.entry_timeout_s = times.entry_s;
    features.attr_timeout_s = times.attr_s;
    features.negative_timeout_s = times.negative_s;
    features.keep_cache = !options.shared;
    // With writeback the kernel writes its pages out, and tells close(2) of errors, before it would
    // send FLUSH; the request itself has nothing left to do.
    features.no_flush = features.writeback;
    return features;
}

}  // namespace extencfs::fuse
