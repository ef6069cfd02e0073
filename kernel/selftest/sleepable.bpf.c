// SPDX-License-Identifier: GPL-2.0
/* A program that must not load: members run under RCU. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "extfuse.h"

SEC("struct_ops.s/getattr")
int BPF_PROG(sleepable_getattr, struct extfuse_ctx *req)
{
	return EXTFUSE_PASS;
}

SEC(".struct_ops.link")
struct extfuse_ops sleepable_ops = {
	.getattr = (void *)sleepable_getattr,
};

char _license[] SEC("license") = "GPL";
