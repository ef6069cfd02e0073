// SPDX-License-Identifier: GPL-2.0
/*
 * The hook: offers each synchronous FUSE request to the program of its connection, and checks the answer.
 *
 * Every request that waits for its reply goes through one function of fs/fuse, FUSE_HOOK (its name and signature come
 * from the target kernel's BTF). An ftrace callback on its entry runs the program. If the program answers, the callback
 * does what a live patch does: it lets the call continue in a function of the same signature, extfuse_answered(), which
 * returns the answer. Otherwise the call goes on as if nothing had been there.
 *
 * The hook is in place only while a program is attached (and a moment longer): a loaded module without programs costs
 * no instruction.
 *
 * Locks: extfuse_mutex serializes attaching, detaching and (un)hooking; inside it ftrace takes its own locks. Requests
 * take none: RCU protects the table, and the program in it while it runs.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cred.h>
#include <linux/ftrace.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <linux/hashtable.h>
#include <linux/mnt_idmapping.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/uidgid.h>
#include <linux/workqueue.h>

#include "extfuse.h"
#include "extfuse_layout.h"
#include "uapi/extfuse.h"

/* Exported by fs/fuse, declared in its private header. */
struct fuse_conn *fuse_conn_get(struct fuse_conn *fc);
void fuse_conn_put(struct fuse_conn *fc);

/* ---- What may be offered, and what is told of: the rest passes unseen ---- */

enum extfuse_action {
	EXTFUSE_IGNORE,
	EXTFUSE_OFFER,		/* to the member at @member */
	EXTFUSE_TELL,		/* before() */
};

struct extfuse_policy {
	u8 action;
	u8 member;
};

#define OFFER(name) { EXTFUSE_OFFER, offsetof(struct extfuse_ops, name) }
#define TELL { EXTFUSE_TELL }
#define EXTFUSE_COPY_FILE_RANGE_64 53	/* enum fuse_opcode has it from 6.18 on */

/*
 * READLINK is missing on purpose: its reply goes to pages. So is everything with a descriptor or a lock: the daemon
 * holds the state.
 */
static const struct extfuse_policy extfuse_policy[] = {
	[FUSE_LOOKUP]		= OFFER(lookup),
	[FUSE_GETATTR]		= OFFER(getattr),
	[FUSE_STATX]		= OFFER(statx),
	[FUSE_GETXATTR]		= OFFER(getxattr),
	[FUSE_LISTXATTR]	= OFFER(listxattr),
	[FUSE_ACCESS]		= OFFER(access),
	[FUSE_OPEN]		= OFFER(open),
	[FUSE_OPENDIR]		= OFFER(opendir),

	[FUSE_SETATTR]		= TELL,
	[FUSE_MKNOD]		= TELL,
	[FUSE_MKDIR]		= TELL,
	[FUSE_UNLINK]		= TELL,
	[FUSE_RMDIR]		= TELL,
	[FUSE_RENAME]		= TELL,
	[FUSE_RENAME2]		= TELL,
	[FUSE_LINK]		= TELL,
	[FUSE_SYMLINK]		= TELL,
	[FUSE_CREATE]		= TELL,
	[FUSE_TMPFILE]		= TELL,
	[FUSE_SETXATTR]		= TELL,
	[FUSE_REMOVEXATTR]	= TELL,
	[FUSE_WRITE]		= TELL,
	[FUSE_FALLOCATE]	= TELL,
	[FUSE_COPY_FILE_RANGE]	= TELL,
	[EXTFUSE_COPY_FILE_RANGE_64] = TELL,
};

/* ---- Which program belongs to which connection ---- */

/**
 * struct extfuse_attachment - a program on a connection
 * @node: in extfuse_table, by @fc
 * @fc: counted, so that its address cannot come to mean another mount
 * @ops: the program; alive until extfuse_dispatch_remove() returns
 */
struct extfuse_attachment {
	struct hlist_node node;
	struct fuse_conn *fc;
	const struct extfuse_ops *ops;
};

static DEFINE_MUTEX(extfuse_mutex);
static DEFINE_HASHTABLE(extfuse_table, 6);
static unsigned int extfuse_attached;	/* entries in the table; under extfuse_mutex */

static const struct extfuse_ops *extfuse_find(const struct fuse_conn *fc)
{
	const struct extfuse_attachment *attachment;

	hash_for_each_possible_rcu(extfuse_table, attachment, node, (unsigned long)fc)
		if (attachment->fc == fc)
			return attachment->ops;
	return NULL;
}

/* ---- The request ---- */

/* All of it in kernel memory, waiting for a reply, in the caller's name, and nobody's callback at its end. */
static bool extfuse_is_plain(const struct fuse_args *args)
{
	return !(args->force || args->noreply || args->nocreds || args->is_ext || args->in_pages ||
		 args->out_pages || args->user_pages || args->end);
}

/* As fuse_get_req() fills in fuse_in_header. False if it would fail the request. */
static bool extfuse_set_caller(struct extfuse_ctx *ctx, struct mnt_idmap *idmap, const struct fuse_mount *fm)
{
	struct user_namespace *user_ns = fuse_conn_user_ns(fm->fc);
	kuid_t uid = current_fsuid();
	kgid_t gid = current_fsgid();
	bool idmapped = false;

#ifdef SB_I_NOIDMAP
	idmapped = fm->sb && !(fm->sb->s_iflags & SB_I_NOIDMAP);
	if (idmapped) {
		uid = mapped_fsuid(idmap, user_ns);
		gid = mapped_fsgid(idmap, user_ns);
	}
#endif
	ctx->uid = from_kuid(user_ns, uid);
	ctx->gid = from_kgid(user_ns, gid);
	ctx->pid = pid_nr_ns(task_pid(current), fuse_conn_pid_ns(fm->fc));
	return idmapped || (ctx->uid != (u32)-1 && ctx->gid != (u32)-1);
}

static void extfuse_init_request(struct extfuse_request *request, struct fuse_args *args)
{
	/* With in_pages, the last argument's data are not at its value. */
	unsigned int numargs = args->in_numargs - (args->in_pages && args->in_numargs);

	*request = (struct extfuse_request) {
		.ctx.nodeid = args->nodeid,
		.ctx.opcode = args->opcode,
		.args = args,
		.in_numargs = numargs,
	};
	for (unsigned int i = 0; i < numargs; i++)
		request->ctx.in_size += args->in_args[i].size;
}

static u32 extfuse_out_size(const struct fuse_args *args)
{
	u32 size = 0;

	for (unsigned int i = 0; i < args->out_numargs; i++)
		size += args->out_args[i].size;
	return size;
}

/*
 * True if the program answered with what it wrote: all of it, except that the last argument of some replies may be
 * short, which is then noted in the request as the daemon's reply would be.
 */
static bool extfuse_accept_reply(const struct extfuse_ctx *ctx, struct fuse_args *args)
{
	struct fuse_arg *last;
	u32 fixed;

	if (!args->out_argvar)
		return ctx->out_done == ctx->out_size;
	last = &args->out_args[args->out_numargs - 1];
	fixed = ctx->out_size - last->size;
	if (ctx->out_done < fixed)
		return false;
	last->size = ctx->out_done - fixed;
	return true;
}

/* True if the program answered; *error is then 0 or negative. */
static bool extfuse_offer(extfuse_answer_fn answer, struct mnt_idmap *idmap, const struct fuse_mount *fm,
			  struct fuse_args *args, int *error)
{
	struct extfuse_request request;

	extfuse_init_request(&request, args);
	request.ctx.out_size = extfuse_out_size(args);
	if (!extfuse_set_caller(&request.ctx, idmap, fm))
		return false;
	*error = answer(&request.ctx);
	if (!*error)
		return extfuse_accept_reply(&request.ctx, args);
	return *error < 0 && *error >= -EXTFUSE_ERRNO_MAX && *error != -ENOSYS;
}

static void extfuse_tell(void (*before)(struct extfuse_ctx *), struct mnt_idmap *idmap, const struct fuse_mount *fm,
			 struct fuse_args *args)
{
	struct extfuse_request request;

	extfuse_init_request(&request, args);
	if (extfuse_set_caller(&request.ctx, idmap, fm))
		before(&request.ctx);
}

/* Under RCU. True if the request is answered. */
static bool extfuse_dispatch(struct mnt_idmap *idmap, const struct fuse_mount *fm, struct fuse_args *args, int *error)
{
	const struct extfuse_policy *policy;
	const struct extfuse_ops *ops;
	extfuse_answer_fn answer;

	if (args->opcode >= ARRAY_SIZE(extfuse_policy))
		return false;
	policy = &extfuse_policy[args->opcode];
	if (policy->action == EXTFUSE_IGNORE)
		return false;
	ops = extfuse_find(fm->fc);
	/* When the daemon has gone, so has its word: the request fails as it does without a program. */
	if (!ops || !fuse_conn_connected(fm->fc))
		return false;
	if (policy->action == EXTFUSE_TELL) {
		if (ops->before)
			extfuse_tell(ops->before, idmap, fm, args);
		return false;
	}
	answer = *(const extfuse_answer_fn *)((const void *)ops + policy->member);
	return answer && extfuse_is_plain(args) && extfuse_offer(answer, idmap, fm, args, error);
}

/* ---- The hook ---- */

/*
 * Opcodes that are offered fit 16 bits; the upper half takes the error from the callback to extfuse_answered(). The
 * return register would not do: BPF trampolines on the same function run between the two and keep only arguments.
 */
#define EXTFUSE_ERROR_SHIFT 16
static_assert(ARRAY_SIZE(extfuse_policy) <= 1 << EXTFUSE_ERROR_SHIFT);

/* Where an answered request continues, called in place of FUSE_HOOK. Returns what that does once a reply is there. */
static noinline ssize_t extfuse_answered(FUSE_HOOK_PARAMS)
{
	int error = args->opcode >> EXTFUSE_ERROR_SHIFT;

	args->opcode &= (1u << EXTFUSE_ERROR_SHIFT) - 1;
	if (error)
		return -error;
	return args->out_argvar ? args->out_args[args->out_numargs - 1].size : 0;
}

/*
 * Needs no guard against recursion: no program can send a FUSE request, since it may not sleep, and interrupts send
 * none either.
 */
static void notrace extfuse_on_request(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *fops,
				       struct ftrace_regs *fregs)
{
	struct mnt_idmap *idmap = fuse_hook_idmap(fregs);
	const struct fuse_mount *fm = fuse_hook_fm(fregs);
	struct fuse_args *args = fuse_hook_args(fregs);
	int error;

	rcu_read_lock();
	if (extfuse_dispatch(idmap, fm, args, &error)) {
		args->opcode |= (u32)-error << EXTFUSE_ERROR_SHIFT;
		ftrace_regs_set_instruction_pointer(fregs, (unsigned long)extfuse_answered);
	}
	rcu_read_unlock();
}

/* PERMANENT: while programs answer, kernel.ftrace_enabled=0 is refused, so that no change goes past before(). */
static struct ftrace_ops extfuse_fops = {
	.func = extfuse_on_request,
	.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT,
};

static bool extfuse_hooked;		/* under extfuse_mutex */

static int extfuse_hook(void)
{
	int err;

	lockdep_assert_held(&extfuse_mutex);
	if (extfuse_hooked)
		return 0;
	err = register_ftrace_function(&extfuse_fops);
	extfuse_hooked = !err;
	return err;
}

/*
 * Waits, by RCU tasks, until nobody runs the callback or extfuse_answered() any more. That takes long on a busy machine,
 * so it is put off until the programs have been gone for a while, and nobody waits who only detaches.
 */
static void extfuse_unhook_fn(struct work_struct *work)
{
	mutex_lock(&extfuse_mutex);
	if (extfuse_hooked && !extfuse_attached) {
		unregister_ftrace_function(&extfuse_fops);
		extfuse_hooked = false;
	}
	mutex_unlock(&extfuse_mutex);
}
static DECLARE_DELAYED_WORK(extfuse_unhook_work, extfuse_unhook_fn);

#define EXTFUSE_UNHOOK_DELAY (2 * HZ)

/* ---- For the other files ---- */

/**
 * extfuse_dispatch_add - offer a connection's requests to a program
 * @sb: a FUSE mount's superblock, kept alive by the caller
 * @ops: the program; must stay until extfuse_dispatch_remove()
 *
 * Return: 0, or an error that uapi/extfuse.h lists.
 */
int extfuse_dispatch_add(struct super_block *sb, const struct extfuse_ops *ops)
{
	struct fuse_conn *fc = ((struct fuse_mount *)sb->s_fs_info)->fc;
	struct extfuse_attachment *attachment, *other;
	int bucket, err;

	attachment = kzalloc(sizeof(*attachment), GFP_KERNEL_ACCOUNT);
	if (!attachment)
		return -ENOMEM;
	attachment->fc = fc;
	attachment->ops = ops;

	mutex_lock(&extfuse_mutex);
	err = fuse_conn_connected(fc) ? 0 : -ENOTCONN;
	hash_for_each(extfuse_table, bucket, other, node) {
		if (other->fc == fc)
			err = -EEXIST;
		else if (other->ops == ops)
			err = err ?: -EBUSY;
	}
	err = err ?: extfuse_hook();
	if (!err) {
		fuse_conn_get(fc);
		hash_add_rcu(extfuse_table, &attachment->node, (unsigned long)fc);
		extfuse_attached++;
		attachment = NULL;
	}
	mutex_unlock(&extfuse_mutex);
	kfree(attachment);
	return err;
}

/**
 * extfuse_dispatch_remove - end what extfuse_dispatch_add() began
 * @ops: the program
 *
 * When this returns, the program answers no request any more and runs on no processor.
 */
void extfuse_dispatch_remove(const struct extfuse_ops *ops)
{
	struct extfuse_attachment *attachment, *found = NULL;
	struct hlist_node *next;
	int bucket;

	mutex_lock(&extfuse_mutex);
	hash_for_each_safe(extfuse_table, bucket, next, attachment, node) {
		if (attachment->ops != ops)
			continue;
		hash_del_rcu(&attachment->node);
		found = attachment;
		if (!--extfuse_attached)
			mod_delayed_work(system_long_wq, &extfuse_unhook_work, EXTFUSE_UNHOOK_DELAY);
	}
	mutex_unlock(&extfuse_mutex);
	if (!found)
		return;
	synchronize_rcu();
	fuse_conn_put(found->fc);
	kfree(found);
}

/* Fails where the hooked function cannot be traced. */
int __init extfuse_dispatch_init(void)
{
	int err = ftrace_set_filter(&extfuse_fops, FUSE_HOOK, strlen(FUSE_HOOK), 1);

	if (err)
		pr_err("this kernel cannot trace %s: %d\n", FUSE_HOOK, err);
	return err;
}

/* Nothing may be attached any more. */
void extfuse_dispatch_exit(void)
{
	cancel_delayed_work_sync(&extfuse_unhook_work);
	extfuse_unhook_fn(NULL);
	ftrace_free_filter(&extfuse_fops);
}
