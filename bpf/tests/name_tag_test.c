// SPDX-License-Identifier: GPL-2.0
/*
 * The tag is SipHash-2-4-128 of the parent's id and the name.  The vectors are of the
 * key 00 01 .. 0f and the input 00 01 02 .. (8 bytes of parent, the rest name), as
 *   openssl mac -macopt hexkey:00..0f -macopt size:16 -in INPUT SIPHASH
 * gives them.
 */
#include <stdio.h>
#include <string.h>

#include "bpf/name_tag.h"

static const struct {
	unsigned int name_len;
	unsigned char tag[16];
} vectors[] = {
#include "bpf/tests/name_tag_vectors.inc"
};

int main(void)
{
	unsigned char input[8 + XF_NAME_MAX];
	__u64 key[2], parent;
	unsigned int i, bad = 0;

	for (i = 0; i < 16; i++)
		((unsigned char *)key)[i] = i;
	for (i = 0; i < sizeof(input); i++)
		input[i] = i;
	memcpy(&parent, input, 8);
	for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct xf_tag tag = xf_tag_of(key, parent, (const char *)input + 8,
					      vectors[i].name_len);

		if (memcmp(&tag, vectors[i].tag, 16)) {
			printf("name of %u bytes: wrong tag\n", vectors[i].name_len);
			bad++;
		}
	}
	printf("%u vectors, %u wrong\n", i, bad);
	return bad != 0;
}
