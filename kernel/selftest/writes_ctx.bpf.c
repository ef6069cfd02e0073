// SPDX-License-Identifier: GPL-2.0
/* A program that must not load: the context is read-only. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

SEC("struct_ops/getattr")
int BPF_PROG(writing_getattr, struct extfuse_ctx *req)
{
	req->out_done = req->out_size;
	return 0;
}

SEC(".struct_ops.link")
struct extfuse_ops writing_ops = {
	.getattr = (void *)writing_getattr,
};

char _license[] SEC("license") = "GPL";
