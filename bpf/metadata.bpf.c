// SPDX-License-Identifier: GPL-2.0
/*
 * Answers FUSE requests from the records that the daemon keeps in mapped arrays.
 * Owns the reading half of the protocol in README.md; knows nothing of encryption
 * and never sees a name that it keeps.
 *
 * Every handler passes the request to the daemon unless the answer is certain.
 */
#include "bpf/vmlinux_min.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "bpf/abi.h"
#include "bpf/fuse_wire.bpf.h"
#include "bpf/maps.bpf.h"
#include "bpf/name_tag.h"
#include "bpf/order.bpf.h"
#include "bpf/policy.bpf.h"

extern int extfuse_in(struct extfuse_ctx *ctx, __u32 off, void *dst, __u32 dst__sz) __ksym;
extern int extfuse_out(struct extfuse_ctx *ctx, const void *src, __u32 src__sz) __ksym;

/* ---- counting, refusing ---- */

/* @ret as the handler gives it: EXTFUSE_PASS or an answer. */
static __always_inline int counted(__u32 opcode, int ret)
{
	count(opcode, ret == EXTFUSE_PASS ? XF_MISSED : XF_SERVED);
	return ret;
}

/*
 * The LSM hooks refuse before a request exists.  What gets past them (the check of
 * a directory's mode can ask for its attributes first; BPF LSM may not be active)
 * is refused here.
 */
static __always_inline bool refused(__u32 opcode)
{
	struct xf_policy *p = xf_policy();

	if (!p || xf_admitted(p))
		return false;
	count(opcode, XF_DENIED);
	xf_count_denial(XF_HOOK_REQUEST, opcode);
	return true;
}

/* ---- LOOKUP ---- */

/* Replies have a frame of their own: the name's and theirs are not needed at once. */
static __noinline int reply_absent(struct extfuse_ctx *ctx)
{
	struct xf_entry_out out = {};

	if (!config.negative_valid && !config.negative_valid_nsec)
		return -XF_ENOENT;
	out.entry_valid = config.negative_valid;
	out.entry_valid_nsec = config.negative_valid_nsec;
	return extfuse_out(ctx, &out, sizeof(out)) ? EXTFUSE_PASS : 0;
}

static __noinline int reply_child(struct extfuse_ctx *ctx, const struct xf_bucket *b,
				       __u64 bucket_ver, __u64 child)
{
	struct xf_node *n = node_of(child);
	struct xf_entry_out out = {};

	if (!n || !read_attributes(n, child, &out.attr, &out.attr_valid, &out.attr_valid_nsec))
		return EXTFUSE_PASS;
	/* Entry and attributes of one moment. */
	if (xf_load_after(&b->ver) != bucket_ver)
		return EXTFUSE_PASS;
	out.nodeid = child;
	out.entry_valid = config.entry_valid;
	out.entry_valid_nsec = config.entry_valid_nsec;
	if (extfuse_out(ctx, &out, sizeof(out)))
		return EXTFUSE_PASS;
	/* Last: nothing may fail once the reference is counted. */
	return take_reference(n, child) ? 0 : EXTFUSE_PASS;
}

/* Reads the name of a LOOKUP.  Its length, or 0 if it is none to answer here. */
static __always_inline __u32 lookup_name(struct extfuse_ctx *ctx, struct xf_name *name)
{
	__u32 len = ctx->in_size - 1;	/* a NUL ends it */

	if (len - 1 >= XF_NAME_MAX)
		return 0;
	if (extfuse_in(ctx, 0, name->word, sizeof(name->word)) != (int)ctx->in_size)
		return 0;
	/* "." and "..", which file servers ask for, are in no directory's record. */
	if (name->word[0] == '.' || name->word[0] == ('.' | '.' << 8))
		return 0;
	return len;
}

static __always_inline int lookup(struct extfuse_ctx *ctx)
{
	const __u64 parent = ctx->nodeid;
	struct xf_name name = {};
	struct xf_node *dir;
	struct xf_bucket *b;
	struct xf_tag tag;
	__u64 ver, dir_ver, child = 0;
	bool found = false;
	__u32 len, index;
	int i;

	len = lookup_name(ctx, &name);
	if (!len)
		return EXTFUSE_PASS;
	name.parent = parent;
	xf_name_tag(config.tag_key[0], config.tag_key[1], &name, len, &tag);

	/* Before the probe: whether the directory is complete. */
	dir = node_of(parent);
	dir_ver = dir ? xf_load_acquire(&dir->dir_ver) : 1;

	index = tag.lo & config.bucket_mask;
	b = bpf_map_lookup_elem(&buckets, &index);
	if (!b)
		return EXTFUSE_PASS;
	ver = xf_load_acquire(&b->ver);
	if (ver & 1)
		return EXTFUSE_PASS;
	for (i = 0; i < XF_WAYS; i++) {
		const struct xf_way *w = &b->way[i];

		if (w->tag.lo == tag.lo && w->tag.hi == tag.hi && w->parent == parent) {
			child = *(const volatile __u64 *)&w->child;
			found = true;
			break;
		}
	}
	if (xf_load_after(&b->ver) != ver)
		return EXTFUSE_PASS;

	if (found) {
		if (child == XF_CHILD_BUSY)
			return EXTFUSE_PASS;
		if (child == XF_CHILD_ABSENT)
			return reply_absent(ctx);
		return reply_child(ctx, b, ver, child);
	}
	/* The same publication of the same directory before and after the probe. */
	if (dir && !(dir_ver & 1) && dir->nodeid == parent &&
	    xf_load_after(&dir->dir_ver) == dir_ver)
		return reply_absent(ctx);
	return EXTFUSE_PASS;
}

SEC("struct_ops/lookup")
int BPF_PROG(xf_lookup, struct extfuse_ctx *req)
{
	const __u32 opcode = req->opcode;

	if (refused(opcode))
		return -XF_EACCES;
	return counted(opcode, lookup(req));
}

/* ---- GETATTR, STATX ---- */

static __always_inline int getattr(struct extfuse_ctx *ctx)
{
	const __u64 nodeid = ctx->nodeid;
	struct xf_node *n = node_of(nodeid);
	struct xf_attr_out out = {};

	/* With a handle or without: the inode's attributes are the same. */
	if (!n || !read_attributes(n, nodeid, &out.attr, &out.attr_valid, &out.attr_valid_nsec))
		return EXTFUSE_PASS;
	return extfuse_out(ctx, &out, sizeof(out)) ? EXTFUSE_PASS : 0;
}

SEC("struct_ops/getattr")
int BPF_PROG(xf_getattr, struct extfuse_ctx *req)
{
	const __u32 opcode = req->opcode;

	if (refused(opcode))
		return -XF_EACCES;
	return counted(opcode, getattr(req));
}

static __always_inline int statx(struct extfuse_ctx *ctx)
{
	const __u64 nodeid = ctx->nodeid;
	struct xf_node *n = node_of(nodeid);
	struct xf_statx_out out = {};
	__u64 ver;

	if (!n)
		return EXTFUSE_PASS;
	ver = xf_load_acquire(&n->attr_ver);
	/* The kernel sends STATX when somebody wants the birth time. */
	if (ver & 1 || n->nodeid != nodeid || !(n->attr_flags & XF_ATTR_BTIME))
		return EXTFUSE_PASS;
	out.attr_valid = n->attr_valid;
	out.attr_valid_nsec = n->attr_valid_nsec;
	out.mask = XF_STATX_BASIC_STATS | XF_STATX_BTIME;
	out.blksize = n->attr.blksize;
	out.nlink = n->attr.nlink;
	out.uid = n->attr.uid;
	out.gid = n->attr.gid;
	out.mode = n->attr.mode;
	out.ino = n->attr.ino;
	out.size = n->attr.size;
	out.blocks = n->attr.blocks;
	out.atime.tv_sec = n->attr.atime;
	out.atime.tv_nsec = n->attr.atimensec;
	out.mtime.tv_sec = n->attr.mtime;
	out.mtime.tv_nsec = n->attr.mtimensec;
	out.ctime.tv_sec = n->attr.ctime;
	out.ctime.tv_nsec = n->attr.ctimensec;
	out.btime.tv_sec = n->btime;
	out.btime.tv_nsec = n->btime_nsec;
	/* The kernel's new_encode_dev(), undone. */
	out.rdev_major = (n->attr.rdev & 0xfff00) >> 8;
	out.rdev_minor = (n->attr.rdev & 0xff) | ((n->attr.rdev >> 12) & 0xfff00);
	if (xf_load_after(&n->attr_ver) != ver)
		return EXTFUSE_PASS;
	return extfuse_out(ctx, &out, sizeof(out)) ? EXTFUSE_PASS : 0;
}

SEC("struct_ops/statx")
int BPF_PROG(xf_statx, struct extfuse_ctx *req)
{
	const __u32 opcode = req->opcode;

	if (refused(opcode))
		return -XF_EACCES;
	return counted(opcode, statx(req));
}

/* ---- GETXATTR, LISTXATTR: only "absent" and "empty" ---- */

/* The start of a name, zeros behind it; no name that matters is longer. */
union xattr_name {
	char byte[32];
	__u64 word[4];
};

#define XF_IS(name, literal)							\
	({									\
		const union xattr_name __l = { .byte = literal };		\
		(name)->word[0] == __l.word[0] && (name)->word[1] == __l.word[1] && \
		(name)->word[2] == __l.word[2] && (name)->word[3] == __l.word[3]; \
	})

static __always_inline __u64 known_bit(const union xattr_name *name)
{
	if (XF_IS(name, "security.capability"))
		return XF_XATTR_CAPABILITY;
	if (XF_IS(name, "system.posix_acl_access"))
		return XF_XATTR_ACL_ACCESS;
	if (XF_IS(name, "system.posix_acl_default"))
		return XF_XATTR_ACL_DEFAULT;
	if (XF_IS(name, "security.selinux"))
		return XF_XATTR_SELINUX;
	if (XF_IS(name, "security.ima"))
		return XF_XATTR_IMA;
	if (XF_IS(name, "security.evm"))
		return XF_XATTR_EVM;
	if (XF_IS(name, "security.SMACK64"))
		return XF_XATTR_SMACK;
	if (XF_IS(name, "security.apparmor"))
		return XF_XATTR_APPARMOR;
	return 0;
}

static __always_inline __u64 bytes_as_word(const char bytes[8])
{
	__u64 word;

	__builtin_memcpy(&word, bytes, sizeof(word));
	return word;
}

/* Whether the daemon says "no such attribute" of an absent one by this name. */
static __always_inline bool in_namespace(const union xattr_name *name, __u64 bit)
{
	const __u32 spaces = config.xattr_namespaces;
	const __u64 start = name->word[0];

	if ((spaces & XF_NS_USER) && (start & 0xffffffffff) == bytes_as_word("user.\0\0"))
		return name->byte[5];
	if ((spaces & XF_NS_TRUSTED) && start == bytes_as_word("trusted."))
		return name->byte[8];
	if ((spaces & XF_NS_SECURITY) && start == bytes_as_word("security"))
		return name->byte[8] == '.' && name->byte[9];
	if (spaces & XF_NS_POSIX_ACL)
		return bit & (XF_XATTR_ACL_ACCESS | XF_XATTR_ACL_DEFAULT);
	return false;
}

static __always_inline int getxattr(struct extfuse_ctx *ctx)
{
	const __u64 nodeid = ctx->nodeid;
	struct xf_node *n = node_of(nodeid);
	union xattr_name name = {};
	__u64 absent, bit = 0;
	int len;

	if (!n || !read_xattr_absent(n, nodeid, &absent) || !absent)
		return EXTFUSE_PASS;
	len = extfuse_in(ctx, sizeof(struct xf_getxattr_in), &name, sizeof(name));
	if (len < 2)
		return EXTFUSE_PASS;
	/* A longer one is cut off, has no NUL then, and cannot be a known one. */
	bit = known_bit(&name);
	if (absent & bit)
		return -XF_ENODATA;
	if ((absent & XF_XATTR_NONE) && in_namespace(&name, bit))
		return -XF_ENODATA;
	return EXTFUSE_PASS;
}

SEC("struct_ops/getxattr")
int BPF_PROG(xf_getxattr, struct extfuse_ctx *req)
{
	const __u32 opcode = req->opcode;

	if (refused(opcode))
		return -XF_EACCES;
	return counted(opcode, getxattr(req));
}

static __always_inline int listxattr(struct extfuse_ctx *ctx)
{
	const __u64 nodeid = ctx->nodeid;
	struct xf_node *n = node_of(nodeid);
	struct xf_getxattr_out length = {};
	struct xf_getxattr_in in = {};
	__u64 absent;

	if (!n || !read_xattr_absent(n, nodeid, &absent) || !(absent & XF_XATTR_NONE))
		return EXTFUSE_PASS;
	if (extfuse_in(ctx, 0, &in, sizeof(in)) != sizeof(in))
		return EXTFUSE_PASS;
	if (in.size)
		return 0;	/* an empty list */
	return extfuse_out(ctx, &length, sizeof(length)) ? EXTFUSE_PASS : 0;
}

SEC("struct_ops/listxattr")
int BPF_PROG(xf_listxattr, struct extfuse_ctx *req)
{
	const __u32 opcode = req->opcode;

	if (refused(opcode))
		return -XF_EACCES;
	return counted(opcode, listxattr(req));
}

/* ---- requests that only the policy is asked about ---- */

static __always_inline int gate(struct extfuse_ctx *ctx)
{
	const __u32 opcode = ctx->opcode;

	if (refused(opcode))
		return -XF_EACCES;
	return counted(opcode, EXTFUSE_PASS);
}

SEC("struct_ops/access")
int BPF_PROG(xf_access, struct extfuse_ctx *req)
{
	return gate(req);
}

SEC("struct_ops/open")
int BPF_PROG(xf_open, struct extfuse_ctx *req)
{
	return gate(req);
}

SEC("struct_ops/opendir")
int BPF_PROG(xf_opendir, struct extfuse_ctx *req)
{
	return gate(req);
}

SEC(".struct_ops.link")
struct extfuse_ops extfuse = {
	.lookup = (void *)xf_lookup,
	.getattr = (void *)xf_getattr,
	.statx = (void *)xf_statx,
	.getxattr = (void *)xf_getxattr,
	.listxattr = (void *)xf_listxattr,
	.access = (void *)xf_access,
	.open = (void *)xf_open,
	.opendir = (void *)xf_opendir,
};

char _license[] SEC("license") = "GPL";
