/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Whom the mount's policy admits: one answer for the LSM hooks (access.bpf.c) and for
 * the requests (metadata.bpf.c).  The maps are shared by both objects: the loader
 * creates them once.
 */
#ifndef EXTFUSE_POLICY_BPF_H
#define EXTFUSE_POLICY_BPF_H

#include "bpf/vmlinux_min.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include "bpf/abi.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xf_policy);
} policy SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, XF_POLICY_UIDS);
	__type(key, __u32);
	__type(value, __u8);
} allow_uid SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xf_denials);
} denials SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} denial_log SEC(".maps");

/* How much of the current second's share of the log is used; races only misjudge it. */
struct xf_log_rate {
	__u64 second;
	__u64 used;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct xf_log_rate);
} log_rate SEC(".maps");

static __always_inline struct xf_policy *xf_policy(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&policy, &zero);
}

static __always_inline bool xf_is_daemon(const struct xf_policy *p)
{
	__u32 tgid = bpf_get_current_task_btf()->tgid;
	__u32 i;

	for (i = 0; i < XF_POLICY_TGIDS; i++)
		if (i < p->tgid_count && p->daemon_tgid[i] == tgid)
			return true;
	return false;
}

/*
 * Binary search among the caller's supplementary groups, which the kernel keeps sorted
 * (groups_sort()).
 */
struct xf_search {
	const struct group_info *groups;
	__u32 gid;
	__u32 low;
	__u32 high;
	bool found;
};

static long xf_search_once(__u32 i, struct xf_search *s)
{
	__u32 mid, at;

	if (s->low >= s->high)
		return 1;
	mid = (s->low + s->high) / 2;
	if (bpf_probe_read_kernel(&at, sizeof(at), &s->groups->gid[mid & 0xffff]))
		return 1;
	s->found = at == s->gid;
	if (at < s->gid)
		s->low = mid + 1;
	else
		s->high = mid;
	return s->found;
}

/* Global functions are verified once, by themselves, not at each call. */
__noinline int xf_in_group(__u32 gid)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct group_info *groups = BPF_CORE_READ(task, cred, group_info);
	struct xf_search s = { .groups = groups, .gid = gid };

	s.high = BPF_CORE_READ(groups, ngroups);
	bpf_loop(17, xf_search_once, &s, 0);	/* NGROUPS_MAX is 2^16 */
	return s.found;
}

__noinline int xf_admitted_by_group(void)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u32 fsgid = task->cred->fsgid.val, i;
	struct xf_policy *p = xf_policy();

	if (!p)
		return false;
	for (i = 0; i < XF_POLICY_GIDS && i < p->gid_count; i++)
		if (p->allow_gid[i] == fsgid || xf_in_group(p->allow_gid[i]))
			return true;
	return false;
}

/*
 * Judged by the file system uid: it is what the kernel sends to the daemon and what
 * it checks file modes with.
 */
static __always_inline bool xf_admitted(const struct xf_policy *p)
{
	struct task_struct *task;
	__u32 uid;

	if (!(p->flags & XF_POLICY_ACTIVE))
		return true;
	task = bpf_get_current_task_btf();
	uid = task->cred->fsuid.val;
	if (uid == p->owner_uid)
		return true;
	if (uid == 0 && !(p->flags & XF_POLICY_DENY_ROOT))
		return true;
	if (xf_is_daemon(p))
		return true;
	if (bpf_map_lookup_elem(&allow_uid, &uid))
		return true;
	return p->gid_count && xf_admitted_by_group();
}

__noinline int xf_count_denial(__u32 hook, __u32 opcode)
{
	__u32 zero = 0;
	struct xf_denials *d = bpf_map_lookup_elem(&denials, &zero);
	struct xf_log_rate *rate = bpf_map_lookup_elem(&log_rate, &zero);
	struct task_struct *task = bpf_get_current_task_btf();
	struct xf_denial *event;
	__u64 now = bpf_ktime_get_ns();
	__u64 second = now / 1000000000;

	if (!d || !rate)
		return 0;
	/* Masked and not compared: the bound must survive a spill. */
	__sync_fetch_and_add(&d->by_hook[hook & (XF_HOOKS - 1)], 1);
	if (rate->second != second) {
		rate->second = second;
		rate->used = 0;
	}
	if (rate->used >= XF_DENIALS_LOGGED_PER_SECOND) {
		__sync_fetch_and_add(&d->lost, 1);
		return 0;
	}
	__sync_fetch_and_add(&rate->used, 1);
	event = bpf_ringbuf_reserve(&denial_log, sizeof(*event), 0);
	if (!event) {
		__sync_fetch_and_add(&d->lost, 1);
		return 0;
	}
	event->time_ns = now;
	event->uid = task->cred->fsuid.val;
	event->tgid = task->tgid;
	event->hook = hook;
	event->opcode = opcode;
	bpf_probe_read_kernel(event->comm, sizeof(event->comm), task->comm);
	bpf_ringbuf_submit(event, 0);
	return 0;
}

/*
 * Run by the daemon on itself (BPF_PROG_TEST_RUN), from each process that serves the
 * mount: what it calls its own pid may not be what the initial namespace calls it.
 */
SEC("syscall")
int xf_enrol(void *ctx)
{
	__u32 tgid = bpf_get_current_task_btf()->tgid;
	struct xf_policy *p = xf_policy();
	__u32 n;

	if (!p)
		return -1;
	if (xf_is_daemon(p))
		return 0;
	n = p->tgid_count;
	if (n >= XF_POLICY_TGIDS)
		return -1;
	p->daemon_tgid[n] = tgid;
	p->tgid_count = n + 1;
	return 0;
}

#endif /* EXTFUSE_POLICY_BPF_H */
