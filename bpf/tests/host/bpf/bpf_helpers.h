/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the programs use of libbpf's header, for metadata_test.c, which compiles them for
 * this machine.
 */
#ifndef EXTFUSE_HOST_BPF_HELPERS_H
#define EXTFUSE_HOST_BPF_HELPERS_H

#define SEC(name)
#define __ksym
#undef __always_inline
#define __always_inline inline __attribute__((always_inline))
#define __noinline __attribute__((noinline))
#define __uint(name, val) int (*name)[val]
#define barrier_var(var) asm volatile("" : "+r"(var))
#define __type(name, val) __typeof__(val) *name

struct task_struct;

void *bpf_map_lookup_elem(const void *map, const void *key);
struct task_struct *bpf_get_current_task_btf(void);
long bpf_probe_read_kernel(void *to, __u32 size, const void *from);
long bpf_loop(__u32 count, void *each, void *context, __u64 flags);
__u64 bpf_ktime_get_ns(void);
void *bpf_ringbuf_reserve(void *ringbuf, __u64 size, __u64 flags);
void bpf_ringbuf_submit(void *data, __u64 flags);

#endif /* EXTFUSE_HOST_BPF_HELPERS_H */
