/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The keyed tag of (parent node id, name): SipHash-2-4 with 128 bits of output over
 * the parent's id (8 bytes, little-endian) and the name (1 to 255 bytes).  The maps
 * hold tags, never names; without the key a tag can neither be guessed at nor be
 * made to collide.  One function for BPF and for user space.
 *
 * The bucket of a name is tag.lo & bucket_mask.
 */
#ifndef EXTFUSE_BPF_NAME_TAG_H
#define EXTFUSE_BPF_NAME_TAG_H

#include "bpf/abi.h"

#define XF_NAME_MAX	255

/*
 * What is hashed, as words.  Every byte behind the name must be zero: the last,
 * incomplete word is hashed whole.
 */
struct xf_name {
	__u64 parent;
	__u64 word[32];
};
XF_STATIC_ASSERT(sizeof(struct xf_name) == 264);

#define XF_ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define XF_SIPROUND(v0, v1, v2, v3)					\
	do {								\
		v0 += v1; v1 = XF_ROTL(v1, 13); v1 ^= v0; v0 = XF_ROTL(v0, 32); \
		v2 += v3; v3 = XF_ROTL(v3, 16); v3 ^= v2;		\
		v0 += v3; v3 = XF_ROTL(v3, 21); v3 ^= v0;		\
		v2 += v1; v1 = XF_ROTL(v1, 17); v1 ^= v2; v2 = XF_ROTL(v2, 32); \
	} while (0)

/* @len: of the name, 1 .. XF_NAME_MAX. */
static inline __attribute__((always_inline)) void
xf_name_tag(__u64 key0, __u64 key1, const struct xf_name *name, __u32 len,
	    struct xf_tag *tag)
{
	__u64 v0 = 0x736f6d6570736575ULL ^ key0;
	__u64 v1 = 0x646f72616e646f6dULL ^ key1 ^ 0xee;	/* 128 bits of output */
	__u64 v2 = 0x6c7967656e657261ULL ^ key0;
	__u64 v3 = 0x7465646279746573ULL ^ key1;
	__u64 m;
	__u32 i;

	m = name->parent;
	v3 ^= m;
	XF_SIPROUND(v0, v1, v2, v3);
	XF_SIPROUND(v0, v1, v2, v3);
	v0 ^= m;
	/* The bound is for the verifier: 31 whole words and 7 bytes at most. */
	for (i = 0; i < 32; i++) {
		m = name->word[i];
		if (8 * i + 8 > len)	/* the last word, with the length on top */
			m |= (__u64)(len + 8) << 56;
		v3 ^= m;
		XF_SIPROUND(v0, v1, v2, v3);
		XF_SIPROUND(v0, v1, v2, v3);
		v0 ^= m;
		if (8 * i + 8 > len)
			break;
	}
	v2 ^= 0xee;
	XF_SIPROUND(v0, v1, v2, v3);
	XF_SIPROUND(v0, v1, v2, v3);
	XF_SIPROUND(v0, v1, v2, v3);
	XF_SIPROUND(v0, v1, v2, v3);
	tag->lo = v0 ^ v1 ^ v2 ^ v3;
	v1 ^= 0xdd;
	XF_SIPROUND(v0, v1, v2, v3);
	XF_SIPROUND(v0, v1, v2, v3);
	XF_SIPROUND(v0, v1, v2, v3);
	XF_SIPROUND(v0, v1, v2, v3);
	tag->hi = v0 ^ v1 ^ v2 ^ v3;
}

#ifndef __bpf__
/* The same for user space.  REQUIRES: 1 <= @len <= XF_NAME_MAX. */
static inline struct xf_tag xf_tag_of(const __u64 key[2], __u64 parent,
				      const char *bytes, __u32 len)
{
	struct xf_name name;
	struct xf_tag tag;

	__builtin_memset(&name, 0, sizeof(name));
	name.parent = parent;
	__builtin_memcpy(name.word, bytes, len);
	xf_name_tag(key[0], key[1], &name, len, &tag);
	__builtin_memset(&name, 0, sizeof(name));
	return tag;
}
#endif

#endif /* EXTFUSE_BPF_NAME_TAG_H */
