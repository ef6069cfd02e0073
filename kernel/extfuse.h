/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Internal interfaces of extfuse.ko. Dependencies go one way: main.c -> struct_ops.c -> dispatch.c <- kfuncs.c.
 */
#ifndef EXTFUSE_H
#define EXTFUSE_H

#include <linux/container_of.h>
#include <linux/types.h>

struct fuse_args;
struct fuse_conn;
struct super_block;

/**
 * struct extfuse_ctx - one request, as a program sees it
 * @nodeid: the node that the request is about, for LOOKUP the parent
 * @opcode: enum fuse_opcode
 * @uid: who asks, as fuse_in_header would tell the daemon: the file system uid in the mount's user namespace
 * @gid: likewise the file system gid
 * @pid: the calling thread in the mount's pid namespace, 0 if it is not visible there
 * @in_size: bytes that extfuse_in() can read: the body after fuse_in_header, without data held in pages
 * @out_size: room for the reply body, 0 in @before
 * @out_done: bytes written by extfuse_out() so far
 *
 * Read-only for programs.
 */
struct extfuse_ctx {
	u64 nodeid;
	u32 opcode;
	u32 uid;
	u32 gid;
	u32 pid;
	u32 in_size;
	u32 out_size;
	u32 out_done;
};

/**
 * struct extfuse_request - the request behind a context, hidden from programs
 * @ctx: what the program sees
 * @args: the kernel's request
 * @in_numargs: leading in_args that are kernel memory
 */
struct extfuse_request {
	struct extfuse_ctx ctx;
	struct fuse_args *args;
	unsigned int in_numargs;
};

static inline struct extfuse_request *extfuse_request(struct extfuse_ctx *ctx)
{
	return container_of(ctx, struct extfuse_request, ctx);
}

typedef int (*extfuse_answer_fn)(struct extfuse_ctx *ctx);

/**
 * struct extfuse_ops - a program for one FUSE connection
 * @lookup: answers FUSE_LOOKUP
 * @getattr: answers FUSE_GETATTR
 * @statx: answers FUSE_STATX
 * @getxattr: answers FUSE_GETXATTR
 * @listxattr: answers FUSE_LISTXATTR
 * @access: answers FUSE_ACCESS
 * @open: answers FUSE_OPEN
 * @opendir: answers FUSE_OPENDIR
 * @before: told of each synchronous request that changes something, before the daemon can see it
 * @fd: an open file on the mount; means something only while the program is being attached
 * @flags: EXTFUSE_OPS_*
 * @uid: with EXTFUSE_OPS_OF_USER, whose mount it has to be
 *
 * uapi/extfuse.h says what the answering members return. All of them run in the context of the caller, under RCU, and
 * must not sleep. A member left out passes.
 */
struct extfuse_ops {
	int (*lookup)(struct extfuse_ctx *ctx);
	int (*getattr)(struct extfuse_ctx *ctx);
	int (*statx)(struct extfuse_ctx *ctx);
	int (*getxattr)(struct extfuse_ctx *ctx);
	int (*listxattr)(struct extfuse_ctx *ctx);
	int (*access)(struct extfuse_ctx *ctx);
	int (*open)(struct extfuse_ctx *ctx);
	int (*opendir)(struct extfuse_ctx *ctx);
	void (*before)(struct extfuse_ctx *ctx);
	u32 fd;
	u32 flags;
	u32 uid;
};

/* dispatch.c: the hook, and which program belongs to which connection. */
int extfuse_dispatch_init(void);
void extfuse_dispatch_exit(void);
int extfuse_dispatch_add(struct super_block *sb, const struct extfuse_ops *ops);
void extfuse_dispatch_remove(const struct extfuse_ops *ops);

/* kfuncs.c */
int extfuse_kfuncs_init(void);

/* struct_ops.c */
int extfuse_struct_ops_init(void);

#endif /* EXTFUSE_H */
