/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * What extfuse.ko, BPF programs and user space have to agree on. It needs no other header, so that it can be included
 * after vmlinux.h as well as after <linux/fuse.h>.
 *
 * A program is a struct_ops of type "extfuse_ops". Its members, all non-sleepable and all optional:
 *
 *	int lookup(struct extfuse_ctx *ctx)	FUSE_LOOKUP
 *	int getattr(struct extfuse_ctx *ctx)	FUSE_GETATTR
 *	int statx(struct extfuse_ctx *ctx)	FUSE_STATX
 *	int getxattr(struct extfuse_ctx *ctx)	FUSE_GETXATTR
 *	int listxattr(struct extfuse_ctx *ctx)	FUSE_LISTXATTR
 *	int access(struct extfuse_ctx *ctx)	FUSE_ACCESS
 *	int open(struct extfuse_ctx *ctx)	FUSE_OPEN
 *	int opendir(struct extfuse_ctx *ctx)	FUSE_OPENDIR
 *	void before(struct extfuse_ctx *ctx)	a request that changes something is about to go to the daemon
 *	u32 fd					an open file on the mount, read when the program is attached
 *	u32 flags				EXTFUSE_OPS_*
 *	u32 uid					with EXTFUSE_OPS_OF_USER: whose mount it may be attached to
 *
 * A member that answers a request writes the whole reply body (what follows fuse_out_header on /dev/fuse) with
 * extfuse_out() and returns 0, or returns a negative errno.
 */
#ifndef EXTFUSE_UAPI_H
#define EXTFUSE_UAPI_H

/* The type of struct_ops, and the version of this interface, which changes with what a program can see. */
#define EXTFUSE_OPS_NAME	"extfuse_ops"
#define EXTFUSE_ABI_VERSION	1

/*
 * What a member returns: 0 answers the request with what extfuse_out() wrote, -1 to -EXTFUSE_ERRNO_MAX answer it with
 * that error, and everything else passes it to the daemon. So do -ENOSYS, with which the kernel would switch the
 * operation off for the whole mount, and 0 with any fixed byte of the reply unwritten.
 */
#define EXTFUSE_ANSWERED	0
#define EXTFUSE_PASS		1
#define EXTFUSE_ERRNO_MAX	511

/*
 * Attach to mounts of the user @uid only, as user_id= among the mount's options says, but counted in the user namespace
 * of the caller. For a service that attaches on behalf of others: it need not look at the mount by itself.
 */
#define EXTFUSE_OPS_OF_USER	(1U << 0)

/*
 * Attaching fails with
 *	-EBADF		fd is no open file of the caller (O_PATH is not enough)
 *	-EINVAL		the file is not on a FUSE mount
 *	-EPERM		the caller lacks CAP_SYS_ADMIN in the user namespace that owns the mount
 *	-EACCES		the mount is of another user than @uid
 *	-ENOTCONN	the daemon has gone
 *	-EEXIST		the connection has a program already
 *	-EBUSY		this struct_ops is attached already, or a live patch owns the hooked function
 */

#endif /* EXTFUSE_UAPI_H */
