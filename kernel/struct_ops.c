// SPDX-License-Identifier: GPL-2.0
/*
 * The struct_ops type "extfuse_ops": what a program may be, who may attach it, and to what.
 *
 * Which request a member answers, and when, is the business of dispatch.c.
 */
#include <linux/bpf.h>
#include <linux/bpf_verifier.h>
#include <linux/btf.h>
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/uidgid.h>
#include <linux/version.h>

#include "extfuse.h"
#include "extfuse_layout.h"
#include "uapi/extfuse.h"

static int extfuse_ops_init(struct btf *btf)
{
	return 0;
}

static bool extfuse_ops_is_valid_access(int off, int size, enum bpf_access_type type,
					const struct bpf_prog *prog,
					struct bpf_insn_access_aux *info)
{
	return bpf_tracing_btf_ctx_access(off, size, type, prog, info);
}

/* Without btf_struct_access, the verifier refuses every write through a context. */
static const struct bpf_verifier_ops extfuse_verifier_ops = {
	.get_func_proto = bpf_base_func_proto,
	.is_valid_access = extfuse_ops_is_valid_access,
};

static int extfuse_ops_check_member(const struct btf_type *t, const struct btf_member *member,
				    const struct bpf_prog *prog)
{
	/* All members run under RCU, some with preemption off. */
	return prog->sleepable ? -EINVAL : 0;
}

static int extfuse_ops_init_member(const struct btf_type *t, const struct btf_member *member,
				   void *kdata, const void *udata)
{
	const struct extfuse_ops *uops = udata;
	struct extfuse_ops *ops = kdata;

	switch (__btf_member_bit_offset(t, member) / 8) {
	case offsetof(struct extfuse_ops, fd):
		ops->fd = uops->fd;
		return 1;
	case offsetof(struct extfuse_ops, flags):
		if (uops->flags & ~EXTFUSE_OPS_OF_USER)
			return -EINVAL;
		ops->flags = uops->flags;
		return 1;
	case offsetof(struct extfuse_ops, uid):
		ops->uid = uops->uid;
		return 1;
	}
	return 0;
}

/* All of these have a struct fuse_mount behind s_fs_info; the magic number alone anybody can carry. */
static bool extfuse_is_fuse(const struct super_block *sb)
{
	static const char *const types[] = { "fuse", "fuseblk", "virtiofs" };

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(sb->s_type->name, types[i]))
			return sb->s_magic == FUSE_SUPER_MAGIC;
	return false;
}

/*
 * Compared as the kernel knows them: the user_id= that a mount of another user namespace shows is counted there. An id
 * that the caller's namespace does not have is nobody's.
 */
static bool extfuse_is_of_user(const struct super_block *sb, u32 uid)
{
	const struct fuse_mount *fm = sb->s_fs_info;

	return uid_eq(fuse_conn_user_id(fm->fc), make_kuid(current_user_ns(), uid));
}

static int extfuse_attach(const struct extfuse_ops *ops)
{
	struct file *file = fget(ops->fd);
	struct super_block *sb;
	int err;

	if (!file)
		return -EBADF;
	sb = file_inode(file)->i_sb;
	if (!extfuse_is_fuse(sb))
		err = -EINVAL;
	/* A program speaks for the daemon, to everybody who uses the mount: a delegated BPF token is not enough. */
	else if (!ns_capable(sb->s_user_ns, CAP_SYS_ADMIN))
		err = -EPERM;
	else if (ops->flags & EXTFUSE_OPS_OF_USER && !extfuse_is_of_user(sb, ops->uid))
		err = -EACCES;
	else
		err = extfuse_dispatch_add(sb, ops);
	fput(file);
	return err;
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
static int extfuse_ops_reg(void *kdata, struct bpf_link *link)
{
	/* Without a link, nothing would end with the process that attaches. */
	return link ? extfuse_attach(kdata) : -EOPNOTSUPP;
}

static void extfuse_ops_unreg(void *kdata, struct bpf_link *link)
{
	extfuse_dispatch_remove(kdata);
}
#else
static int extfuse_ops_reg(void *kdata)
{
	return extfuse_attach(kdata);
}

static void extfuse_ops_unreg(void *kdata)
{
	extfuse_dispatch_remove(kdata);
}
#endif

static int extfuse_answer_stub(struct extfuse_ctx *ctx)
{
	return EXTFUSE_PASS;
}

static void extfuse_before_stub(struct extfuse_ctx *ctx)
{
}

static struct extfuse_ops extfuse_cfi_stubs = {
	.lookup = extfuse_answer_stub,
	.getattr = extfuse_answer_stub,
	.statx = extfuse_answer_stub,
	.getxattr = extfuse_answer_stub,
	.listxattr = extfuse_answer_stub,
	.access = extfuse_answer_stub,
	.open = extfuse_answer_stub,
	.opendir = extfuse_answer_stub,
	.before = extfuse_before_stub,
};

static struct bpf_struct_ops bpf_extfuse_ops = {
	.verifier_ops = &extfuse_verifier_ops,
	.init = extfuse_ops_init,
	.check_member = extfuse_ops_check_member,
	.init_member = extfuse_ops_init_member,
	.reg = extfuse_ops_reg,
	.unreg = extfuse_ops_unreg,
	.cfi_stubs = &extfuse_cfi_stubs,
	.owner = THIS_MODULE,
	.name = EXTFUSE_OPS_NAME,
};

int __init extfuse_struct_ops_init(void)
{
	return register_bpf_struct_ops(&bpf_extfuse_ops, extfuse_ops);
}
