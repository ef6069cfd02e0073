/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ordered loads that the readers of records need.
 *
 * On x86-64 loads are not reordered with loads, and the JIT emits instructions in
 * program order: it is enough to stop the compiler.  Elsewhere there is no acquire
 * load in the BPF of these kernels (load-acquire came with 6.15), but an atomic that
 * returns a value is fully ordered on every architecture (the kernel documents
 * BPF_FETCH so): a fetch-and-add of 0 is both the load and the fence.  It writes, so
 * it costs a shared cache line; correctness first.
 */
#ifndef EXTFUSE_ORDER_BPF_H
#define EXTFUSE_ORDER_BPF_H

#define xf_barrier() asm volatile("" ::: "memory")

#if defined(__TARGET_ARCH_x86)
/* Loads that follow in the program happen after this one. */
#define xf_load_acquire(p)						\
	({								\
		__u64 __v = *(const volatile __u64 *)(p);		\
		xf_barrier();						\
		__v;							\
	})
/* Loads that precede in the program happen before this one. */
#define xf_load_after(p)						\
	({								\
		xf_barrier();						\
		*(const volatile __u64 *)(p);				\
	})
#else
#define xf_load_acquire(p) __sync_fetch_and_add((__u64 *)(p), 0)
#define xf_load_after(p) __sync_fetch_and_add((__u64 *)(p), 0)
#endif

#endif /* EXTFUSE_ORDER_BPF_H */
