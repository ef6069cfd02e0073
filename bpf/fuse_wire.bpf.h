/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Request and reply bodies in FUSE's wire form, from protocol 7.39 on (the system's
 * linux/fuse.h may be older, and is not made for BPF).
 */
#ifndef EXTFUSE_FUSE_WIRE_BPF_H
#define EXTFUSE_FUSE_WIRE_BPF_H

#include "bpf/abi.h"

struct xf_entry_out {		/* struct fuse_entry_out */
	__u64 nodeid;
	__u64 generation;
	__u64 entry_valid;
	__u64 attr_valid;
	__u32 entry_valid_nsec;
	__u32 attr_valid_nsec;
	struct xf_attr attr;
};
XF_STATIC_ASSERT(sizeof(struct xf_entry_out) == 128);

struct xf_attr_out {		/* struct fuse_attr_out */
	__u64 attr_valid;
	__u32 attr_valid_nsec;
	__u32 dummy;
	struct xf_attr attr;
};
XF_STATIC_ASSERT(sizeof(struct xf_attr_out) == 104);

struct xf_getxattr_in {		/* struct fuse_getxattr_in */
	__u32 size;
	__u32 padding;
};

struct xf_getxattr_out {	/* struct fuse_getxattr_out */
	__u32 size;
	__u32 padding;
};

struct xf_sx_time {		/* struct fuse_sx_time */
	__s64 tv_sec;
	__u32 tv_nsec;
	__s32 reserved;
};

struct xf_statx_out {		/* struct fuse_statx_out, its struct fuse_statx inline */
	__u64 attr_valid;
	__u32 attr_valid_nsec;
	__u32 flags;
	__u64 spare[2];
	__u32 mask;
	__u32 blksize;
	__u64 attributes;
	__u32 nlink;
	__u32 uid;
	__u32 gid;
	__u16 mode;
	__u16 spare0;
	__u64 ino;
	__u64 size;
	__u64 blocks;
	__u64 attributes_mask;
	struct xf_sx_time atime;
	struct xf_sx_time btime;
	struct xf_sx_time ctime;
	struct xf_sx_time mtime;
	__u32 rdev_major;
	__u32 rdev_minor;
	__u32 dev_major;
	__u32 dev_minor;
	__u64 spare2[14];
};
XF_STATIC_ASSERT(sizeof(struct xf_statx_out) == 32 + 256);

#define XF_STATX_BASIC_STATS	0x7ffU
#define XF_STATX_BTIME		0x800U

#define XF_ENOENT	2
#define XF_EACCES	13
#define XF_ENODATA	61

#endif /* EXTFUSE_FUSE_WIRE_BPF_H */
