// SPDX-License-Identifier: GPL-2.0
/*
 * A program with knobs: it answers well or badly, as user space says in `knobs`, and notes what it was shown. It owns no
 * protocol of coherence and is no example of one.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "extfuse.h"
#include "knobs.h"

extern int extfuse_in(struct extfuse_ctx *ctx, __u32 off, void *dst, __u32 dst__sz) __ksym;
extern int extfuse_out(struct extfuse_ctx *ctx, const void *src, __u32 src__sz) __ksym;

struct knobs knobs SEC(".data.knobs");
struct notes notes SEC(".data.notes");

static const char kHello[] = "hello";
static const char kXattr[] = "user.bpf";

static void count(unsigned long long *counters, const struct extfuse_ctx *req)
{
	__u32 opcode = req->opcode;

	/* The compiler must not read it again after the check. */
	asm volatile("" : "+r"(opcode));
	if (opcode < OPCODES)
		__sync_fetch_and_add(&counters[opcode], 1);
}

static void note(struct seen *seen, const struct extfuse_ctx *req)
{
	count(seen->count, req);
	seen->nodeid = req->nodeid;
	seen->opcode = req->opcode;
	seen->uid = req->uid;
	seen->gid = req->gid;
	seen->pid = req->pid;
	seen->in_size = req->in_size;
	seen->out_size = req->out_size;
}

/* Writes the reply as the knob says, and returns what the member is to return. */
static int reply(struct extfuse_ctx *req, const void *body, __u32 size)
{
	int err;

	switch (knobs.write) {
	case WRITE_NOTHING:
		break;
	case WRITE_HALF:
		err = extfuse_out(req, body, 8);
		if (err)
			return EXTFUSE_PASS;
		break;
	case WRITE_IN_PIECES:
		if (extfuse_out(req, body, 8) || extfuse_out(req, body + 8, size - 8))
			return EXTFUSE_PASS;
		/* One byte more than there is room for must be refused. */
		notes.overflow = extfuse_out(req, body, 8);
		break;
	default:
		if (extfuse_out(req, body, size))
			return EXTFUSE_PASS;
	}
	if (!knobs.result)
		count(notes.served, req);
	return knobs.result;
}

static void fill(struct fuse_attr *attr)
{
	attr->ino = HELLO_NODE;
	attr->size = knobs.size;
	attr->mode = 0100644;
	attr->nlink = 1;
	attr->blksize = 4096;
}

SEC("struct_ops/getattr")
int BPF_PROG(selftest_getattr, struct extfuse_ctx *req)
{
	struct fuse_attr_out out = {};

	note(&notes.request, req);
	if (req->nodeid != HELLO_NODE || !knobs.getattr)
		return EXTFUSE_PASS;
	fill(&out.attr);
	return reply(req, &out, sizeof(out));
}

SEC("struct_ops/lookup")
int BPF_PROG(selftest_lookup, struct extfuse_ctx *req)
{
	struct fuse_entry_out out = {};
	char name[sizeof(kHello)] = {};

	note(&notes.request, req);
	if (!knobs.lookup || req->nodeid != 1 || req->in_size != sizeof(name) ||
	    extfuse_in(req, 0, name, sizeof(name)) != sizeof(name))
		return EXTFUSE_PASS;
	for (int i = 0; i < sizeof(name); i++)
		if (name[i] != kHello[i])
			return EXTFUSE_PASS;
	out.nodeid = HELLO_NODE;
	fill(&out.attr);
	return reply(req, &out, sizeof(out));
}

/* The request is a struct fuse_getxattr_in and the name; the reply the size, or the value, which may be short. */
SEC("struct_ops/getxattr")
int BPF_PROG(selftest_getxattr, struct extfuse_ctx *req)
{
	struct fuse_getxattr_out size_only = { .size = 8 };
	struct fuse_getxattr_in in = {};
	char name[sizeof(kXattr)] = {}, value[8] = "from-bpf";

	note(&notes.request, req);
	if (!knobs.getxattr || extfuse_in(req, 0, &in, 8) != 8 ||
	    extfuse_in(req, 8, name, sizeof(name)) != sizeof(name))
		return EXTFUSE_PASS;
	for (int i = 0; i < sizeof(name); i++)
		if (name[i] != kXattr[i])
			return EXTFUSE_PASS;
	/* Past the end there is nothing. */
	notes.past_end = extfuse_in(req, req->in_size, name, sizeof(name));
	if (!in.size)
		return extfuse_out(req, &size_only, sizeof(size_only)) ? EXTFUSE_PASS : 0;
	if (extfuse_out(req, value, sizeof(value)))
		return -34; /* ERANGE */
	count(notes.served, req);
	return 0;
}

#define NOTE_AND_PASS(member)							\
SEC("struct_ops/" #member)							\
int BPF_PROG(selftest_##member, struct extfuse_ctx *req)			\
{										\
	note(&notes.request, req);						\
	return EXTFUSE_PASS;							\
}

NOTE_AND_PASS(statx)
NOTE_AND_PASS(listxattr)

SEC("struct_ops/access")
int BPF_PROG(selftest_access, struct extfuse_ctx *req)
{
	note(&notes.request, req);
	return knobs.deny_uid && req->uid == knobs.deny_uid ? -13 : EXTFUSE_PASS;
}

SEC("struct_ops/open")
int BPF_PROG(selftest_open, struct extfuse_ctx *req)
{
	note(&notes.request, req);
	return knobs.deny_uid && req->uid == knobs.deny_uid ? -13 : EXTFUSE_PASS;
}

SEC("struct_ops/opendir")
int BPF_PROG(selftest_opendir, struct extfuse_ctx *req)
{
	note(&notes.request, req);
	return knobs.deny_uid && req->uid == knobs.deny_uid ? -13 : EXTFUSE_PASS;
}

SEC("struct_ops/before")
void BPF_PROG(selftest_before, struct extfuse_ctx *req)
{
	char byte = 0;

	note(&notes.change, req);
	/* There is no reply to write. */
	notes.before_out = extfuse_out(req, &byte, sizeof(byte));
}

SEC(".struct_ops.link")
struct extfuse_ops selftest_ops = {
	.lookup = (void *)selftest_lookup,
	.getattr = (void *)selftest_getattr,
	.statx = (void *)selftest_statx,
	.getxattr = (void *)selftest_getxattr,
	.listxattr = (void *)selftest_listxattr,
	.access = (void *)selftest_access,
	.open = (void *)selftest_open,
	.opendir = (void *)selftest_opendir,
	.before = (void *)selftest_before,
};

/* Another user of the hooked function: a BPF trampoline, which must see the very value that the caller gets. */
SEC("fexit/__fuse_simple_request")
int BPF_PROG(watch_exit, void *idmap, void *fm, struct fuse_args *args, long ret)
{
	if (args->nodeid == HELLO_NODE && args->opcode == 22 /* FUSE_GETXATTR */) {
		notes.exits++;
		notes.exit_value = ret;
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
