/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The few kernel types that the programs touch, with the few members that they
 * read.  CO-RE finds the real offsets at load time, so that no kernel image or BTF
 * is needed to build, and one object runs on every kernel.
 */
#ifndef EXTFUSE_VMLINUX_MIN_H
#define EXTFUSE_VMLINUX_MIN_H

#include <linux/bpf.h>		/* __u64 ..., BPF_MAP_TYPE_*, BPF_F_* */

typedef _Bool bool;
#define true 1
#define false 0
#define NULL ((void *)0)

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct { __u32 val; } kuid_t;
typedef struct { __u32 val; } kgid_t;

struct group_info {
	int ngroups;
	kgid_t gid[];
};

struct cred {
	kuid_t fsuid;
	kgid_t fsgid;
	struct group_info *group_info;
};

struct task_struct {
	int pid;
	int tgid;
	const struct cred *cred;
	char comm[16];
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct super_block {
	__u32 s_dev;
};

struct inode {
	struct super_block *i_sb;
	unsigned long i_ino;
	struct hlist_head i_dentry;
};

struct dentry {
	struct dentry *d_parent;
	struct inode *d_inode;
	struct super_block *d_sb;
	union {
		struct hlist_node d_alias;
	} d_u;
};

/* The same in later kernels (7.x), where the union has no name. */
struct dentry___later {
	struct hlist_node d_alias;
};

struct path {
	struct dentry *dentry;
};

struct file {
	struct inode *f_inode;
};

struct mnt_idmap;
struct iattr;
struct posix_acl;

/* ---- extfuse.ko ---- */

struct extfuse_ctx {
	__u64 nodeid;
	__u32 opcode;
	__u32 uid;
	__u32 gid;
	__u32 pid;
	__u32 in_size;		/* request body, after fuse_in_header */
	__u32 out_size;		/* room for the reply body */
	__u32 out_done;
};

/* Members that a program leaves out are NULL; libbpf matches them by name. */
struct extfuse_ops {
	int (*lookup)(struct extfuse_ctx *ctx);
	int (*getattr)(struct extfuse_ctx *ctx);
	int (*statx)(struct extfuse_ctx *ctx);
	int (*getxattr)(struct extfuse_ctx *ctx);
	int (*listxattr)(struct extfuse_ctx *ctx);
	int (*access)(struct extfuse_ctx *ctx);
	int (*open)(struct extfuse_ctx *ctx);
	int (*opendir)(struct extfuse_ctx *ctx);
	__u32 fd;		/* an open file on the mount, looked up at attach */
	__u32 flags;		/* EXTFUSE_OPS_* (kernel/uapi/extfuse.h) */
	__u32 uid;		/* with EXTFUSE_OPS_OF_USER */
};

#pragma clang attribute pop

#define EXTFUSE_PASS 1

#endif /* EXTFUSE_VMLINUX_MIN_H */
