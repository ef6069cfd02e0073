/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the BPF programs and the daemon share: the records in the mapped arrays,
 * the settings, the counters, the access policy.  README.md says who writes and
 * who reads each, in which order, and why the answers are true.
 *
 * Fixed width, no padding, little-endian; asserted below for C and C++.  BPF C
 * includes vmlinux_min.h first, everybody else gets the types from the system.
 *
 * Versions (attr_ver, xattr_ver, dir_ver, bucket.ver): odd = closed, nothing is
 * answered; even = published.  They only grow, by one at each step, and are never
 * reset, not even when a slot or a way is used for something else.  Memory that
 * is all zero is a valid, empty state: no node has id 0.
 */
#ifndef EXTFUSE_BPF_ABI_H
#define EXTFUSE_BPF_ABI_H

#ifndef EXTFUSE_VMLINUX_MIN_H
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define XF_STATIC_ASSERT(cond) static_assert(cond, #cond)
#else
#define XF_STATIC_ASSERT(cond) _Static_assert(cond, #cond)
#endif
#define XF_ASSERT_AT(type, member, off) \
	XF_STATIC_ASSERT(__builtin_offsetof(type, member) == (off))

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the records are little-endian"
#endif

#define XF_ABI_VERSION	1

/* ---- node ids: generation(32) << 32 | slot(32); the slot indexes the node array ---- */

#define XF_ROOT_NODEID	1ULL	/* slot 1, generation 0; slot 0 is never used */

static inline __u32 xf_slot(__u64 nodeid)
{
	return (__u32)nodeid;
}

static inline __u32 xf_generation(__u64 nodeid)
{
	return (__u32)(nodeid >> 32);
}

/* ---- the reference word: alive(1) | generation(31) | served count(32) ---- */
/*
 * The count is of LOOKUPs answered by BPF that the daemon has not folded into its
 * own count yet.  Both sides change the word by compare-and-swap only.  Generation
 * is the low 31 bits of the node id's.
 */

#define XF_REF_ALIVE		(1ULL << 63)
#define XF_REF_COUNT_MASK	0xffffffffULL
#define XF_REF_CAS_TRIES	4	/* then BPF leaves the LOOKUP to the daemon */

/* The word of a node that is alive and that BPF has not handed out. */
static inline __u64 xf_ref_alive(__u64 nodeid)
{
	return XF_REF_ALIVE | ((__u64)(xf_generation(nodeid) & 0x7fffffffU) << 32);
}

static inline __u32 xf_ref_count(__u64 ref)
{
	return (__u32)(ref & XF_REF_COUNT_MASK);
}

/* True if @ref is the word of @nodeid, alive, whatever the count. */
static inline int xf_ref_is(__u64 ref, __u64 nodeid)
{
	return (ref & ~XF_REF_COUNT_MASK) == xf_ref_alive(nodeid);
}

/* ---- FUSE wire structures (include/uapi/linux/fuse.h, named apart) ---- */

struct xf_attr {		/* struct fuse_attr */
	__u64 ino;
	__u64 size;
	__u64 blocks;
	__u64 atime;
	__u64 mtime;
	__u64 ctime;
	__u32 atimensec;
	__u32 mtimensec;
	__u32 ctimensec;
	__u32 mode;
	__u32 nlink;
	__u32 uid;
	__u32 gid;
	__u32 rdev;
	__u32 blksize;
	__u32 flags;
};
XF_STATIC_ASSERT(sizeof(struct xf_attr) == 88);

/* ---- map "nodes": ARRAY, mapped, indexed by slot ---- */

/*
 * Three blocks, each under its own version.  @nodeid and @ref's generation are
 * written only while all three versions are odd.
 */
struct xf_node {
	/* attributes */
	__u64 attr_ver;
	__u64 nodeid;
	struct xf_attr attr;
	__u64 attr_valid;	/* seconds the kernel may keep attr; 0 for an inode */
	__u32 attr_valid_nsec;	/*   that ever had two links (see README.md) */
	__u32 attr_flags;	/* XF_ATTR_* */
	__u64 btime;		/* if XF_ATTR_BTIME; without it STATX is passed */
	__u32 btime_nsec;
	__u32 reserved0;
	/* extended attributes */
	__u64 xattr_ver;
	__u64 xattr_absent;	/* XF_XATTR_* bits: known absent */
	/* directories: even = every existing name is in the buckets */
	__u64 dir_ver;
	__u64 reserved1[4];
	/* references, on a cache line of their own */
	__u64 ref;
	__u64 reserved2[7];
};
XF_STATIC_ASSERT(sizeof(struct xf_node) == 256);
XF_ASSERT_AT(struct xf_node, attr_ver, 0);
XF_ASSERT_AT(struct xf_node, nodeid, 8);
XF_ASSERT_AT(struct xf_node, attr, 16);
XF_ASSERT_AT(struct xf_node, attr_valid, 104);
XF_ASSERT_AT(struct xf_node, attr_flags, 116);
XF_ASSERT_AT(struct xf_node, btime, 120);
XF_ASSERT_AT(struct xf_node, xattr_ver, 136);
XF_ASSERT_AT(struct xf_node, xattr_absent, 144);
XF_ASSERT_AT(struct xf_node, dir_ver, 152);
XF_ASSERT_AT(struct xf_node, ref, 192);

#define XF_ATTR_BTIME		(1U << 0)	/* btime is known: STATX is answered */

/* xattr_absent: one bit for each name that the kernel asks for by itself. */
#define XF_XATTR_CAPABILITY	(1ULL << 0)	/* security.capability */
#define XF_XATTR_ACL_ACCESS	(1ULL << 1)	/* system.posix_acl_access */
#define XF_XATTR_ACL_DEFAULT	(1ULL << 2)	/* system.posix_acl_default */
#define XF_XATTR_SELINUX	(1ULL << 3)	/* security.selinux */
#define XF_XATTR_IMA		(1ULL << 4)	/* security.ima */
#define XF_XATTR_EVM		(1ULL << 5)	/* security.evm */
#define XF_XATTR_SMACK		(1ULL << 6)	/* security.SMACK64 */
#define XF_XATTR_APPARMOR	(1ULL << 7)	/* security.apparmor */
#define XF_XATTR_KNOWN_NAMES	8
/*
 * No extended attribute at all: LISTXATTR is empty, and every name in the
 * namespaces of xf_config.xattr_namespaces is absent.
 */
#define XF_XATTR_NONE		(1ULL << 63)

/* ---- map "buckets": ARRAY, mapped, indexed by tag.lo & bucket_mask ---- */

/* Keyed hash of (parent node id, name): name_tag.h. */
struct xf_tag {
	__u64 lo;
	__u64 hi;
};

/* parent 0: the way is free. */
struct xf_way {
	__u64 parent;
	struct xf_tag tag;
	__u64 child;		/* node id, XF_CHILD_ABSENT or XF_CHILD_BUSY */
};
XF_STATIC_ASSERT(sizeof(struct xf_way) == 32);

#define XF_CHILD_ABSENT		0ULL		/* the name does not exist */
#define XF_CHILD_BUSY		(~0ULL)		/* being changed: the daemon answers */

#define XF_WAYS			4
struct xf_bucket {
	__u64 ver;
	struct xf_way way[XF_WAYS];
};
XF_STATIC_ASSERT(sizeof(struct xf_bucket) == 136);
XF_ASSERT_AT(struct xf_bucket, way, 8);

/*
 * Default sizes: 65536 * 256 B + 65536 * 136 B = 16 MiB + 8.5 MiB.  That leaves half
 * of the 50 MB for the daemon.
 */
#define XF_DEFAULT_NODES	65536U
#define XF_DEFAULT_BUCKETS	65536U	/* a power of two; 262144 names */

/* ---- ".rodata.config" of metadata.bpf.o: set before load, then frozen ---- */

struct xf_config {
	__u32 abi_version;	/* XF_ABI_VERSION */
	__u32 node_count;	/* entries of "nodes", a power of two: slots 0 .. node_count - 1 */
	__u32 bucket_mask;	/* entries of "buckets" - 1 */
	__u32 xattr_namespaces;	/* XF_NS_*: where the daemon says ENODATA for absent */
	__u64 tag_key[2];	/* random for each mount */
	__u64 entry_valid;	/* seconds; of LOOKUP replies */
	__u64 negative_valid;	/* both 0: absent is -ENOENT; else node id 0 and this */
	__u32 entry_valid_nsec;
	__u32 negative_valid_nsec;
};
XF_STATIC_ASSERT(sizeof(struct xf_config) == 56);

#define XF_NS_USER		(1U << 0)
#define XF_NS_TRUSTED		(1U << 1)
#define XF_NS_SECURITY		(1U << 2)
#define XF_NS_POSIX_ACL		(1U << 3)	/* system.posix_acl_* */

/* ---- map "counters": PERCPU_ARRAY of one; by FUSE opcode ---- */

#define XF_OPCODES		64	/* opcodes beyond are not counted */
struct xf_counters {
	__u64 served[XF_OPCODES];	/* answered, refusals apart */
	__u64 missed[XF_OPCODES];	/* offered, left to the daemon */
	__u64 denied[XF_OPCODES];	/* refused by the policy, in either program */
};
XF_STATIC_ASSERT(sizeof(struct xf_counters) == 3 * 8 * XF_OPCODES);

/* ---- map "policy": ARRAY of one; shared by both objects ---- */

#define XF_POLICY_GIDS		32
#define XF_POLICY_TGIDS		4
struct xf_policy {
	__u32 flags;		/* XF_POLICY_*; 0: nobody is refused */
	__u32 dev;		/* s_dev of the mount, as the kernel codes it */
	__u32 owner_uid;
	__u32 gid_count;
	__u32 lower_dev;	/* of the guarded lower directory */
	__u32 tgid_count;
	__u64 lower_ino;
	__u32 daemon_tgid[XF_POLICY_TGIDS];	/* in the initial pid namespace */
	__u32 allow_gid[XF_POLICY_GIDS];
};
XF_STATIC_ASSERT(sizeof(struct xf_policy) == 176);

#define XF_POLICY_ACTIVE	(1U << 0)	/* refuse strangers on the mount */
#define XF_POLICY_DENY_ROOT	(1U << 1)	/* uid 0 is a stranger too */
#define XF_POLICY_GUARD_LOWER	(1U << 2)	/* only the daemon writes below */

/* map "allow_uid": HASH of uid -> __u8; entries beside the owner */
#define XF_POLICY_UIDS		1024

/* map "denials": PERCPU_ARRAY of one; refusals by LSM hook */
enum xf_hook {
	XF_HOOK_REQUEST,		/* refused by metadata.bpf.o, not by a hook */
	XF_HOOK_INODE_PERMISSION,
	XF_HOOK_INODE_GETATTR,
	XF_HOOK_INODE_SETATTR,
	XF_HOOK_INODE_GETXATTR,
	XF_HOOK_INODE_SETXATTR,
	XF_HOOK_INODE_LISTXATTR,
	XF_HOOK_INODE_REMOVEXATTR,
	XF_HOOK_INODE_GET_ACL,
	XF_HOOK_INODE_SET_ACL,
	XF_HOOK_INODE_REMOVE_ACL,
	XF_HOOK_INODE_READLINK,
	XF_HOOK_FILE_OPEN,
	XF_HOOK_SB_STATFS,
	XF_HOOK_PATH_NOTIFY,
	XF_HOOK_INODE_LINK,
	XF_HOOK_LOWER,			/* any write below, guarded */
	XF_HOOK_COUNT
};
#define XF_HOOKS		32
struct xf_denials {
	__u64 by_hook[XF_HOOKS];
	__u64 lost;			/* not logged, by rate or for want of room */
};
XF_STATIC_ASSERT((int)XF_HOOK_COUNT <= (int)XF_HOOKS);

/* map "denial_log": RINGBUF; no names in it */
struct xf_denial {
	__u64 time_ns;			/* CLOCK_MONOTONIC */
	__u32 uid;			/* fsuid, initial user namespace */
	__u32 tgid;
	__u32 hook;			/* enum xf_hook */
	__u32 opcode;			/* FUSE opcode if XF_HOOK_REQUEST, else 0 */
	char comm[16];
};
XF_STATIC_ASSERT(sizeof(struct xf_denial) == 40);

#define XF_DENIALS_LOGGED_PER_SECOND	10

#endif /* EXTFUSE_BPF_ABI_H */
