/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The maps that metadata.bpf.c answers from, and the reading half of their protocol:
 * checked reads, and the count of what is handed out.
 */
#ifndef EXTFUSE_MAPS_BPF_H
#define EXTFUSE_MAPS_BPF_H

#include "bpf/vmlinux_min.h"
#include <bpf/bpf_helpers.h>
#include "bpf/abi.h"
#include "bpf/order.bpf.h"

/* Set by the loader before load; constants to the verifier. */
const volatile struct xf_config config SEC(".rodata.config");

/* Sizes are the loader's to set. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XF_DEFAULT_NODES);
	__type(key, __u32);
	__type(value, struct xf_node);
} nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, XF_DEFAULT_BUCKETS);
	__type(key, __u32);
	__type(value, struct xf_bucket);
} buckets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xf_counters);
} counters SEC(".maps");

/* ---- counting ---- */

enum xf_outcome { XF_SERVED, XF_MISSED, XF_DENIED };

/* Atomic: a program can be preempted by one of its kind on the same processor. */
static __always_inline void count(__u32 opcode, enum xf_outcome outcome)
{
	__u32 zero = 0;
	struct xf_counters *c = bpf_map_lookup_elem(&counters, &zero);

	if (!c || opcode >= XF_OPCODES)
		return;
	if (outcome == XF_SERVED)
		__sync_fetch_and_add(&c->served[opcode], 1);
	else if (outcome == XF_MISSED)
		__sync_fetch_and_add(&c->missed[opcode], 1);
	else
		__sync_fetch_and_add(&c->denied[opcode], 1);
}

/* ---- records ---- */

/*
 * Slots come from the buckets and from requests, which an ordinary user writes, and the kernel does not keep what
 * root loads from speculating past its check of an index.  So the index is masked; what is compared is a copy, of
 * which the compiler does not know that it is the same, so that it cannot put the slot in the masked one's place.
 */
static __always_inline struct xf_node *node_of(__u64 nodeid)
{
	__u32 slot = xf_slot(nodeid);
	__u32 masked = slot & (config.node_count - 1);
	__u32 copy = masked;

	barrier_var(copy);
	if (copy != slot)
		return NULL;	/* beyond the array */
	return bpf_map_lookup_elem(&nodes, &masked);
}

/* True if what it gives is what the daemon published of @nodeid, whole. */
static __always_inline bool read_attributes(const struct xf_node *n, __u64 nodeid,
					    struct xf_attr *attr, __u64 *valid,
					    __u32 *valid_nsec)
{
	__u64 ver = xf_load_acquire(&n->attr_ver);

	if (ver & 1 || n->nodeid != nodeid)
		return false;
	*attr = n->attr;
	*valid = n->attr_valid;
	*valid_nsec = n->attr_valid_nsec;
	return xf_load_after(&n->attr_ver) == ver;
}

/* The same for the absent-xattr bits. */
static __always_inline bool read_xattr_absent(const struct xf_node *n, __u64 nodeid,
					      __u64 *absent)
{
	__u64 ver = xf_load_acquire(&n->xattr_ver);

	if (ver & 1 || n->nodeid != nodeid)
		return false;
	*absent = *(const volatile __u64 *)&n->xattr_absent;
	return xf_load_after(&n->xattr_ver) == ver;
}

/*
 * Count one more LOOKUP served for @nodeid.  After this the kernel holds a reference:
 * the caller must answer.
 */
static __always_inline bool take_reference(struct xf_node *n, __u64 nodeid)
{
	__u64 ref = *(volatile __u64 *)&n->ref, seen;
	int i;

	for (i = 0; i < XF_REF_CAS_TRIES; i++) {
		if (!xf_ref_is(ref, nodeid) || xf_ref_count(ref) == XF_REF_COUNT_MASK)
			return false;
		seen = __sync_val_compare_and_swap(&n->ref, ref, ref + 1);
		if (seen == ref)
			return true;
		ref = seen;
	}
	return false;
}

#endif /* EXTFUSE_MAPS_BPF_H */
