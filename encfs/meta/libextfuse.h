/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libextfuse: the kernel fast path for any daemon on libfuse3's low-level interface.
 *
 * The daemon tells what it learns and what it is about to change; the kernel answers
 * LOOKUP, GETATTR, GETXATTR and LISTXATTR from that, and what it answers is always
 * what the daemon could have answered (bpf/README.md has the argument). The calls
 * below are all that the argument asks of the daemon:
 *
 *   reading (LOOKUP, GETATTR ...)        changing (CREATE, WRITE, SETATTR, RENAME ...)
 *     t = xf_token(m)                      xf_begin(m, &change)
 *     look (open O_PATH, fstat)            change it
 *     xf_publish_*(m, ..., t, NULL)        t = xf_token(m); look
 *     reply                                xf_publish_*(m, ..., t, &change)   (may be left out)
 *                                          xf_end(m, &change)
 *                                          reply
 *
 * Node ids are the library's (xf_node_add); the daemon's own structure hangs on them.
 * The library counts references, since the kernel gets some without the daemon:
 * xf_node_ref in every reply with an entry (READDIRPLUS too), xf_node_forget in FORGET.
 *
 * Where the fast path is not there, xf_open fails and says why; a daemon then goes on
 * with m = NULL for which xf_token, xf_publish_*, xf_begin and xf_end do nothing. Node
 * ids need xf_open_plain in that case.
 *
 * All functions may be called by any thread. None makes a system call, except xf_open,
 * xf_attach, xf_detach, xf_close and xf_get_stats. No C++ exception leaves the library.
 */
#ifndef LIBEXTFUSE_H
#define LIBEXTFUSE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct xf_mount xf_mount;
typedef uint64_t xf_token_t;

/* size: sizeof(struct xf_options), so that it can grow. Zeros are the defaults. */
struct xf_options {
    size_t size;
    uint32_t nodes;       /* a power of two; 0: 65536, 16 MiB */
    uint32_t buckets;     /* a power of two; 0: 65536, 8.5 MiB */
    double entry_timeout; /* as in struct fuse_entry_param */
    double attr_timeout;
    double negative_timeout;   /* 0: a missing name is answered with ENOENT */
    uint32_t xattr_namespaces; /* XF_NS_* (bpf/abi.h): where absent is ENODATA */
    uint32_t flags;            /* 0 */
};

/*
 * Loads the programs and maps the arrays. 0, or -1 with a sentence in `why` (which may
 * be NULL) about the part that is missing. Needs CAP_SYS_ADMIN.
 */
int xf_open(xf_mount** m, const struct xf_options* options, char* why, size_t why_size);
/* Node ids and references only; nothing is answered by the kernel. */
int xf_open_plain(xf_mount** m);
/*
 * Answers from now on. mount_fd: an open directory of the mount (not O_PATH); may be
 * closed afterwards. The session has to be served by then. 0 or a negative errno.
 */
int xf_attach(xf_mount* m, int mount_fd, char* why, size_t why_size);
/* The same by the mount point, from a thread of its own, for a daemon that serves only later. What
 * fails is said on standard error. 0, or an errno if there is no thread. */
int xf_attach_soon(xf_mount* m, const char* mountpoint);
/* No answers any more when it returns. Counts stay right. */
void xf_detach(xf_mount* m);
/* Detaches, overwrites the records, frees everything. After the session's end. */
void xf_close(xf_mount* m);

/* ---- nodes ---- */

#define XF_ROOT 1ULL /* FUSE_ROOT_ID; there from the start */

/*
 * inode: the lower inode number, as in the st_ino of its attributes; what the changes
 * below call the file by. (Of two devices, two files of one number only close each other.)
 * data: the daemon's. Returns the node id, with one reference (the reply that is about to
 * be sent), or 0: no memory.
 */
uint64_t xf_node_add(xf_mount* m, uint64_t inode, void* data);
/* The root's inode and data; before xf_attach. */
void xf_root_set(xf_mount* m, uint64_t inode, void* data);
void* xf_node_data(xf_mount* m, uint64_t node);
/*
 * One more reference, of an entry that is about to be replied. False if the node has
 * gone: look the file up anew.
 */
int xf_node_ref(xf_mount* m, uint64_t node);
/*
 * FORGET. True if the node has gone with it, and with it nobody can get at the data
 * any more: free them.
 */
int xf_node_forget(xf_mount* m, uint64_t node, uint64_t count);
/* DESTROY: every node but the root, once. */
void xf_node_each(xf_mount* m, void (*take)(void* data, void* arg), void* arg);

/* ---- changes ---- */

#define XF_CHANGE_INODES 4
#define XF_CHANGE_NAMES 2

/*
 * What a change touches; zero-initialise. Every inode whose attributes change: the file,
 * both parents, a victim of UNLINK or RENAME even if it is no node; and every name.
 */
struct xf_change {
    uint64_t inodes[XF_CHANGE_INODES];
    uint64_t parents[XF_CHANGE_NAMES]; /* node ids */
    const char* names[XF_CHANGE_NAMES];
    int xattrs;           /* extended attributes may change: SETXATTR, REMOVEXATTR, and
                           * chmod, chown and writes if files have capabilities or ACLs */
    uint64_t reserved[8]; /* the library's */
};

/* One thread at a time may change names: from finding out which inode a name has, which the change
 * needs, until the name is changed. Around xf_begin and xf_end. */
void xf_lock_names(xf_mount* m);
void xf_unlock_names(xf_mount* m);

/* Before the first lower call; xf_end after the last. Changes do not nest. */
void xf_begin(xf_mount* m, struct xf_change* change);
void xf_end(xf_mount* m, struct xf_change* change);

/* ---- what is known ---- */

/* Before a look. A publication with it is dropped if a change began since. */
xf_token_t xf_token(xf_mount* m);

/* within: the caller's own change, or NULL. Where st_nlink was ever above 1, the kernel is told to
 * keep no attributes: after an unlink it counts a link down by itself. */
void xf_publish_attr(xf_mount* m, uint64_t node, const struct stat* attr, xf_token_t token,
                     const struct xf_change* within);
/* child 0: there is no such name. */
void xf_publish_entry(xf_mount* m, uint64_t parent, const char* name, uint64_t child,
                      xf_token_t token, const struct xf_change* within);
/* absent: XF_XATTR_* bits (bpf/abi.h). */
void xf_publish_xattrs(xf_mount* m, uint64_t node, uint64_t absent, xf_token_t token);

/* ---- figures ---- */

struct xf_stats {
    uint64_t served[64]; /* by FUSE opcode */
    uint64_t missed[64];
    uint64_t map_bytes;
    uint64_t map_entries;
};
int xf_get_stats(xf_mount* m, struct xf_stats* stats);

#ifdef __cplusplus
}
#endif

#endif /* LIBEXTFUSE_H */
