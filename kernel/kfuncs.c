// SPDX-License-Identifier: GPL-2.0
/*
 * What programs call: the bodies of the request and of the reply as byte streams in the wire format of /dev/fuse.
 *
 * How the kernel cuts a body into arguments differs between versions (LOOKUP has an empty first one in some), the wire
 * format does not. Programs therefore never see an argument.
 */
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/string.h>

#include "extfuse.h"
#include "extfuse_layout.h"

#ifndef KF_TRUSTED_ARGS
#define KF_TRUSTED_ARGS 0	/* later kernels trust nothing else anyway */
#endif

__bpf_kfunc_start_defs();

/**
 * extfuse_in - read from the body of the request
 * @ctx: the request
 * @off: where to begin; 0 is the first byte after fuse_in_header
 * @dst: where to
 * @dst__sz: how much at most
 *
 * Return: the number of bytes copied, less than @dst__sz (and possibly 0) at the end of the body. The rest of @dst
 * keeps what it held.
 */
__bpf_kfunc int extfuse_in(struct extfuse_ctx *ctx, u32 off, void *dst, u32 dst__sz)
{
	const struct extfuse_request *request = extfuse_request(ctx);
	const struct fuse_in_arg *arg = request->args->in_args;
	const struct fuse_in_arg *end = arg + request->in_numargs;
	u32 done = 0;

	for (; arg < end && done < dst__sz; arg++) {
		u32 n;

		if (off >= arg->size) {
			off -= arg->size;
			continue;
		}
		n = min(arg->size - off, dst__sz - done);
		memcpy(dst + done, arg->value + off, n);
		done += n;
		off = 0;
	}
	return done;
}

/**
 * extfuse_out - append to the body of the reply
 * @ctx: the request
 * @src: what to append; to the verifier of many kernels it must be writable, so on the stack or in a map that is
 * @src__sz: its length
 *
 * A reply becomes visible only if the program returns 0 with all of its fixed part written.
 *
 * Return: 0, or -ERANGE if the kernel has no room for so much (the whole piece is then left out).
 */
__bpf_kfunc int extfuse_out(struct extfuse_ctx *ctx, const void *src, u32 src__sz)
{
	const struct extfuse_request *request = extfuse_request(ctx);
	const struct fuse_arg *arg = request->args->out_args;
	u32 off = ctx->out_done, done = 0;

	if (src__sz > ctx->out_size - ctx->out_done)
		return -ERANGE;
	/* out_size is the sum of the sizes: the loop ends before the arguments do. */
	for (; done < src__sz; arg++) {
		u32 n;

		if (off >= arg->size) {
			off -= arg->size;
			continue;
		}
		n = min(arg->size - off, src__sz - done);
		memcpy(arg->value + off, src + done, n);
		done += n;
		off = 0;
	}
	ctx->out_done += done;
	return 0;
}

__bpf_kfunc_end_defs();

BTF_KFUNCS_START(extfuse_kfunc_ids)
BTF_ID_FLAGS(func, extfuse_in, KF_TRUSTED_ARGS)
BTF_ID_FLAGS(func, extfuse_out, KF_TRUSTED_ARGS)
BTF_KFUNCS_END(extfuse_kfunc_ids)

static const struct btf_kfunc_id_set extfuse_kfunc_set = {
	.owner = THIS_MODULE,
	.set = &extfuse_kfunc_ids,
};

int __init extfuse_kfuncs_init(void)
{
	return register_btf_kfunc_id_set(BPF_PROG_TYPE_STRUCT_OPS, &extfuse_kfunc_set);
}
