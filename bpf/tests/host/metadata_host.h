// SPDX-License-Identifier: GPL-2.0
/*
 * The programs of metadata.bpf.c as functions of this machine, with what the kernel and
 * the module would be to them.  For one file that includes it first.
 */
#ifndef EXTFUSE_METADATA_HOST_H
#define EXTFUSE_METADATA_HOST_H

/* In place of order.bpf.h: the same loads, with somebody else's turn before and after. */
#define EXTFUSE_ORDER_BPF_H
#define xf_load_acquire(p) observed_load(p)
#define xf_load_after(p) observed_load(p)
#define __sync_val_compare_and_swap(p, old, new) observed_swap(p, old, new)

#include <linux/types.h>
static __u64 observed_load(const __u64 *p);
static __u64 observed_swap(__u64 *p, __u64 old, __u64 new);

#include "bpf/metadata.bpf.c"

#undef __sync_val_compare_and_swap
#undef NULL
#include <stdio.h>
#include <string.h>

enum { kNodes = 8, kBuckets = 1, kRoot = 1, kChild = 2, kPass = EXTFUSE_PASS };
enum { kLookup = 1, kOtherGeneration = 1 };
static const __u64 kRefCount = 3;

/* ---- what the kernel and the module would be ---- */

static struct xf_node the_nodes[kNodes];
static struct xf_bucket the_buckets[kBuckets];
static struct xf_counters the_counters;
static struct xf_policy the_policy;
static struct cred the_cred;
static struct task_struct the_task = { .cred = &the_cred };

void *bpf_map_lookup_elem(const void *map, const void *key)
{
	const __u32 at = *(const __u32 *)key;

	if (map == &nodes)
		return at < kNodes ? &the_nodes[at] : NULL;
	if (map == &buckets)
		return at < kBuckets ? &the_buckets[at] : NULL;
	if (map == &counters)
		return &the_counters;
	return map == &policy ? &the_policy : NULL;
}

struct task_struct *bpf_get_current_task_btf(void)
{
	return &the_task;
}

long bpf_probe_read_kernel(void *to, __u32 size, const void *from)
{
	memcpy(to, from, size);
	return 0;
}

long bpf_loop(__u32 count_of, void *each, void *context, __u64 flags)
{
	(void)count_of, (void)each, (void)context, (void)flags;
	return 0;
}

__u64 bpf_ktime_get_ns(void)
{
	return 0;
}

void *bpf_ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags)
{
	(void)ringbuf, (void)size, (void)flags;
	return NULL;
}

void bpf_ringbuf_submit(void *data, __u64 flags)
{
	(void)data, (void)flags;
}

static char request[512];
static struct {
	char bytes[512];
	__u32 size;
	bool refused;	/* no room: the reply cannot be given */
} reply;

int extfuse_in(struct extfuse_ctx *ctx, __u32 off, void *dst, __u32 dst__sz)
{
	__u32 size = ctx->in_size - off;

	if (size > dst__sz)
		size = dst__sz;
	memcpy(dst, request + off, size);
	return size;
}

int extfuse_out(struct extfuse_ctx *ctx, const void *src, __u32 src__sz)
{
	(void)ctx;
	if (reply.refused)
		return -1;
	memcpy(reply.bytes, src, src__sz);
	reply.size = src__sz;
	return 0;
}

/* ---- somebody else's turn ---- */

/* Called before and after the @nth ordered access of a run, of the word @at. */
static void (*turn)(int nth, bool after, const __u64 *at);
static int accesses;

static __u64 observed_load(const __u64 *p)
{
	__u64 value;

	accesses++;
	if (turn)
		turn(accesses, false, p);
	value = *(const volatile __u64 *)p;
	if (turn)
		turn(accesses, true, p);
	return value;
}

static __u64 observed_swap(__u64 *p, __u64 old, __u64 new)
{
	accesses++;
	if (turn)
		turn(accesses, false, p);
	return __sync_val_compare_and_swap(p, old, new);
}

#endif /* EXTFUSE_METADATA_HOST_H */
