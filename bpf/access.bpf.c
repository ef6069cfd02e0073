// SPDX-License-Identifier: GPL-2.0
/*
 * Refuses whom the mount's policy does not admit, before a FUSE request exists; and,
 * if asked, everybody but the daemon who would write below the lower directory.
 *
 * Every hook first compares device numbers, so files of other file systems cost one
 * load and one comparison.  The mount is known by s_dev.  The loader attaches while it
 * holds the mount open, and sb_delete (called before the kernel gives the number
 * away again) ends the policy: another mount is never taken for this one.
 */
#include "bpf/vmlinux_min.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
#include "bpf/abi.h"
#include "bpf/policy.bpf.h"

#define EPERM	1
#define EACCES	13

#define MAY_WRITE	0x02
#define MAY_APPEND	0x08

/* ---- which device and inode a descriptor is ---- */

/*
 * User space's st_dev is not s_dev on every file system (btrfs), nor st_ino always
 * i_ino.  So the loader has itself watched: it runs xf_learn, calls fstat, and reads
 * here what the hook saw of that thread.
 */
struct {
	__u32 tid;		/* who is watched; 0: nobody */
	__u32 dev;
	__u64 ino;
} learn;

SEC("syscall")
int xf_learn(void *ctx)
{
	learn.dev = 0;
	learn.ino = 0;
	learn.tid = bpf_get_current_task_btf()->pid;
	return 0;
}

static __always_inline void learn_from(const struct dentry *dentry)
{
	if (learn.tid != (__u32)bpf_get_current_task_btf()->pid)
		return;
	learn.dev = dentry->d_sb->s_dev;
	learn.ino = dentry->d_inode->i_ino;
	learn.tid = 0;
}

/* ---- the mount ---- */

static __always_inline bool on_mount(const struct xf_policy *p, const struct super_block *sb)
{
	return sb->s_dev == p->dev && (p->flags & XF_POLICY_ACTIVE);
}

/* 0, or the refusal, counted. */
static __always_inline int admit(const struct super_block *sb, enum xf_hook hook)
{
	struct xf_policy *p = xf_policy();

	if (!p || !on_mount(p, sb) || xf_admitted(p))
		return 0;
	xf_count_denial(hook, 0);
	return -EACCES;
}

/* ---- the lower directory ---- */

struct climb {
	struct dentry *dentry;
	__u64 ino;
	bool below;
};

static long climb_once(__u32 i, struct climb *c)
{
	struct dentry *d = c->dentry;
	struct dentry *parent = BPF_CORE_READ(d, d_parent);

	if (BPF_CORE_READ(d, d_inode, i_ino) == c->ino) {
		c->below = true;
		return 1;
	}
	if (!parent || parent == d)
		return 1;
	c->dentry = parent;
	return 0;
}

/* A path has at most PATH_MAX / 2 components. */
#define CLIMB_MAX 2048

static __noinline int guard_dentry(struct dentry *start, __u64 lower_ino)
{
	struct climb c = { .dentry = start, .ino = lower_ino };

	bpf_loop(CLIMB_MAX, climb_once, &c, 0);
	if (!c.below)
		return 0;
	xf_count_denial(XF_HOOK_LOWER, 0);
	return -EPERM;
}

static __always_inline bool may_be_guarded(const struct xf_policy *p,
					   const struct super_block *sb)
{
	return (p->flags & XF_POLICY_GUARD_LOWER) && sb->s_dev == p->lower_dev &&
	       !xf_is_daemon(p);
}

/* For a change of what @dentry names. */
static __always_inline int guard(struct dentry *dentry)
{
	struct xf_policy *p = xf_policy();

	if (!p || !may_be_guarded(p, dentry->d_sb))
		return 0;
	return guard_dentry(dentry, p->lower_ino);
}

static __always_inline __u32 alias_offset(void)
{
	if (bpf_core_field_exists(struct dentry___later, d_alias))
		return bpf_core_field_offset(struct dentry___later, d_alias);
	return bpf_core_field_offset(struct dentry, d_u.d_alias);
}

/* For an inode, by any name that the kernel knows of it. */
static __always_inline int guard_inode(struct inode *inode)
{
	struct xf_policy *p = xf_policy();
	struct hlist_node *alias;

	if (!p || !may_be_guarded(p, inode->i_sb))
		return 0;
	alias = inode->i_dentry.first;
	if (!alias)
		return 0;
	return guard_dentry((void *)alias - alias_offset(), p->lower_ino);
}

/* ---- hooks ---- */

/*
 * The gate: a path through the mount needs MAY_EXEC on its root directory.  Also
 * called in RCU walk (MAY_NOT_BLOCK); nothing here sleeps.
 */
SEC("lsm/inode_permission")
int BPF_PROG(xf_inode_permission, struct inode *inode, int mask, int ret)
{
	if (ret)
		return ret;
	if (mask & (MAY_WRITE | MAY_APPEND)) {
		ret = guard_inode(inode);
		if (ret)
			return ret;
	}
	return admit(inode->i_sb, XF_HOOK_INODE_PERMISSION);
}

SEC("lsm/file_open")
int BPF_PROG(xf_file_open, struct file *file, int ret)
{
	return ret ? ret : admit(file->f_inode->i_sb, XF_HOOK_FILE_OPEN);
}

/* stat of the root directory itself, and of what a descriptor names. */
SEC("lsm/inode_getattr")
int BPF_PROG(xf_inode_getattr, const struct path *path, int ret)
{
	if (ret)
		return ret;
	if (learn.tid)
		learn_from(path->dentry);
	return admit(path->dentry->d_sb, XF_HOOK_INODE_GETATTR);
}

SEC("lsm/inode_setattr")
int BPF_PROG(xf_inode_setattr, struct mnt_idmap *idmap, struct dentry *dentry,
	     struct iattr *attr, int ret)
{
	if (ret)
		return ret;
	ret = guard(dentry);
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_INODE_SETATTR);
}

SEC("lsm/inode_getxattr")
int BPF_PROG(xf_inode_getxattr, struct dentry *dentry, const char *name, int ret)
{
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_INODE_GETXATTR);
}

SEC("lsm/inode_setxattr")
int BPF_PROG(xf_inode_setxattr, struct mnt_idmap *idmap, struct dentry *dentry,
	     const char *name, const void *value, __u64 size, int flags, int ret)
{
	if (ret)
		return ret;
	ret = guard(dentry);
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_INODE_SETXATTR);
}

SEC("lsm/inode_listxattr")
int BPF_PROG(xf_inode_listxattr, struct dentry *dentry, int ret)
{
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_INODE_LISTXATTR);
}

SEC("lsm/inode_removexattr")
int BPF_PROG(xf_inode_removexattr, struct mnt_idmap *idmap, struct dentry *dentry,
	     const char *name, int ret)
{
	if (ret)
		return ret;
	ret = guard(dentry);
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_INODE_REMOVEXATTR);
}

SEC("lsm/inode_get_acl")
int BPF_PROG(xf_inode_get_acl, struct mnt_idmap *idmap, struct dentry *dentry,
	     const char *name, int ret)
{
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_INODE_GET_ACL);
}

SEC("lsm/inode_set_acl")
int BPF_PROG(xf_inode_set_acl, struct mnt_idmap *idmap, struct dentry *dentry,
	     const char *name, struct posix_acl *acl, int ret)
{
	if (ret)
		return ret;
	ret = guard(dentry);
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_INODE_SET_ACL);
}

SEC("lsm/inode_remove_acl")
int BPF_PROG(xf_inode_remove_acl, struct mnt_idmap *idmap, struct dentry *dentry,
	     const char *name, int ret)
{
	if (ret)
		return ret;
	ret = guard(dentry);
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_INODE_REMOVE_ACL);
}

SEC("lsm/inode_readlink")
int BPF_PROG(xf_inode_readlink, struct dentry *dentry, int ret)
{
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_INODE_READLINK);
}

SEC("lsm/sb_statfs")
int BPF_PROG(xf_sb_statfs, struct dentry *dentry, int ret)
{
	return ret ? ret : admit(dentry->d_sb, XF_HOOK_SB_STATFS);
}

SEC("lsm/path_notify")
int BPF_PROG(xf_path_notify, const struct path *path, __u64 mask, unsigned int type, int ret)
{
	return ret ? ret : admit(path->dentry->d_sb, XF_HOOK_PATH_NOTIFY);
}

/* A second name outside the lower directory would be a way around the guard. */
SEC("lsm/inode_link")
int BPF_PROG(xf_inode_link, struct dentry *old, struct inode *dir, struct dentry *new_dentry,
	     int ret)
{
	if (ret)
		return ret;
	ret = guard(old);
	return ret ? ret : admit(old->d_sb, XF_HOOK_INODE_LINK);
}

/* The mount ends; its device number can be given to another one next. */
SEC("lsm/sb_delete")
int BPF_PROG(xf_sb_delete, struct super_block *sb)
{
	struct xf_policy *p = xf_policy();

	if (p && p->dev == sb->s_dev)
		__sync_fetch_and_and(&p->flags, ~XF_POLICY_ACTIVE);
	return 0;
}

char _license[] SEC("license") = "GPL";
