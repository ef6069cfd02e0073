// SPDX-License-Identifier: GPL-2.0
/*
 * The programs of metadata.bpf.c, compiled for this machine: a writer acts at each of
 * their ordered loads and compare-and-swaps in turn, as no guest can be made to.  What
 * they answer must have been true, whole and counted; otherwise they pass.
 */

#include "bpf/tests/host/metadata_host.h"

/* ---- checks ---- */

static int failures;

static void check(bool good, const char *what)
{
	if (good)
		return;
	printf("FAIL %s\n", what);
	failures++;
}

static struct xf_tag tag_of(__u64 parent, const char *name)
{
	const __u64 key[2] = { config.tag_key[0], config.tag_key[1] };

	return xf_tag_of(key, parent, name, strlen(name));
}

static struct xf_way *put(int way, __u64 parent, const char *name, __u64 child)
{
	struct xf_way *w = &the_buckets[0].way[way];

	w->parent = parent;
	w->tag = tag_of(parent, name);
	w->child = child;
	return w;
}

/* A root that is complete, and "file" in it, of size 10. */
static void start(void)
{
	memset(the_nodes, 0, sizeof(the_nodes));
	memset(the_buckets, 0, sizeof(the_buckets));
	memset(&reply, 0, sizeof(reply));
	memset(&the_policy, 0, sizeof(the_policy));
	turn = NULL;
	accesses = 0;
	for (__u64 id = kRoot; id <= kChild; id++) {
		struct xf_node *n = &the_nodes[id];

		n->attr_ver = n->xattr_ver = n->dir_ver = 4;
		n->nodeid = id;
		n->attr.ino = 100 + id;
		n->attr.size = n->attr.blocks = 10;
		n->attr_valid = 1;
		n->attr_flags = XF_ATTR_BTIME;
		n->btime = 10;
		n->xattr_absent = XF_XATTR_CAPABILITY;
		n->ref = xf_ref_alive(id) + kRefCount;
	}
	the_buckets[0].ver = 4;
	put(1, kRoot, "file", kChild);
}

static struct xf_node *child(void)
{
	return &the_nodes[kChild];
}

static int ask(int (*program)(struct extfuse_ctx *), __u64 nodeid, const void *body, __u32 size)
{
	struct extfuse_ctx ctx = { .nodeid = nodeid, .opcode = kLookup, .in_size = size,
				   .out_size = sizeof(reply.bytes) };

	accesses = 0;
	reply.size = 0;
	memset(request, 0, sizeof(request));
	memcpy(request, body, size);
	return program(&ctx);
}

static int look_up_in(__u64 parent, const char *name)
{
	return ask(xf_lookup, parent, name, strlen(name) + 1);
}

static int look_up(const char *name)
{
	return look_up_in(kRoot, name);
}

static int get_attributes(void)
{
	return ask(xf_getattr, kChild, request, 16);
}

static int get_statx(void)
{
	return ask(xf_statx, kChild, request, 24);
}

static int get_xattr(const char *name)
{
	char body[128] = {};

	memcpy(body + sizeof(struct xf_getxattr_in), name, strlen(name));
	return ask(xf_getxattr, kChild, body, sizeof(struct xf_getxattr_in) + strlen(name) + 1);
}

static int list_xattrs(void)
{
	struct xf_getxattr_in in = {};

	return ask(xf_listxattr, kChild, &in, sizeof(in));
}

static bool counted_once(void)
{
	return child()->ref == xf_ref_alive(kChild) + kRefCount + 1;
}

static bool counted_never(void)
{
	return xf_ref_count(child()->ref) == kRefCount;
}

/* A writer that got no further than half of the attributes when the first version was read. */
static void half_written_attributes(int nth, bool after, const __u64 *at)
{
	(void)nth;
	if (!after || at != &child()->attr_ver || child()->attr_ver & 1)
		return;
	child()->attr_ver++;
	child()->attr.size = 20;
}

static void whole_new_attributes(int nth, bool after, const __u64 *at)
{
	(void)nth;
	if (!after || at != &child()->attr_ver || child()->attr_ver != 4)
		return;
	child()->attr_ver += 2;
	child()->attr.size = 20;
}

static void check_attributes(void)
{
	int (*const ways[])(void) = { get_attributes, get_statx };

	for (int i = 0; i < 2; i++) {
		start();
		check(ways[i]() == 0 && reply.size, "published attributes are told");
		start();
		child()->attr_ver++;
		check(ways[i]() == kPass, "closed attributes");
		start();
		child()->nodeid |= (__u64)kOtherGeneration << 32;
		check(ways[i]() == kPass, "attributes of the slot's next node");
		start();
		turn = half_written_attributes;
		check(ways[i]() == kPass, "attributes that change while they are read");
		start();
		turn = whole_new_attributes;
		check(ways[i]() == kPass, "attributes that changed since the version was read");
		start();
		reply.refused = true;
		check(ways[i]() == kPass, "no room for the reply");
	}
	start();
	get_attributes();
	check(((struct xf_attr_out *)reply.bytes)->attr.size == 10, "size");
	check(((struct xf_attr_out *)reply.bytes)->attr_valid == 1, "validity");
	child()->attr_flags = 0;
	check(get_statx() == kPass, "STATX without a birth time");
	check(ask(xf_getattr, kNodes, request, 16) == kPass, "a node beyond the array");
}

static void half_written_xattrs(int nth, bool after, const __u64 *at)
{
	(void)nth;
	if (!after || at != &child()->xattr_ver || child()->xattr_ver & 1)
		return;
	child()->xattr_ver++;
	child()->xattr_absent = XF_XATTR_NONE | XF_XATTR_ACL_ACCESS;
}

static void check_xattrs(void)
{
	const char *const acl = "system.posix_acl_access";

	start();
	check(get_xattr("security.capability") == -XF_ENODATA, "a known absence");
	check(get_xattr(acl) == kPass, "an unknown attribute");
	check(get_xattr("security.capability2") == kPass, "a longer name");
	check(list_xattrs() == kPass, "a list that is not known to be empty");
	child()->xattr_ver++;
	check(get_xattr("security.capability") == kPass, "closed absences");
	start();
	child()->nodeid |= (__u64)kOtherGeneration << 32;
	check(get_xattr("security.capability") == kPass, "absences of the slot's next node");
	start();
	child()->xattr_absent = XF_XATTR_NONE;
	check(list_xattrs() == 0 && reply.size == sizeof(struct xf_getxattr_out), "an empty list");
	reply.refused = true;
	check(list_xattrs() == kPass, "no room for the list's size");
	start();
	turn = half_written_xattrs;
	check(get_xattr(acl) == kPass, "absences that change while they are read");
	start();
	turn = half_written_xattrs;
	check(list_xattrs() == kPass, "a list that changes while it is read");
}

/* ---- LOOKUP ---- */

static void half_written_way(int nth, bool after, const __u64 *at)
{
	(void)nth;
	if (!after || at != &the_buckets[0].ver || the_buckets[0].ver & 1)
		return;
	the_buckets[0].ver++;
	put(1, kRoot, "file", XF_CHILD_ABSENT);
}

/* When the attributes were read, the name goes to another file. */
static void name_moves_after_the_attributes(int nth, bool after, const __u64 *at)
{
	static int of_attributes;

	if (nth == 1 && !after)
		of_attributes = 0;
	if (!after || at != &child()->attr_ver || ++of_attributes != 2)
		return;
	put(1, kRoot, "file", XF_CHILD_BUSY);
	the_buckets[0].ver += 2;
}

static void check_entries(void)
{
	struct xf_entry_out *out = (struct xf_entry_out *)reply.bytes;

	start();
	check(look_up("file") == 0 && out->nodeid == kChild && out->attr.size == 10, "a known name");
	check(counted_once(), "a reference is counted");
	start();
	check(look_up(".") == kPass && look_up("..") == kPass, "dots");
	check(ask(xf_lookup, kRoot, "", 1) == kPass, "no name");
	start();
	the_buckets[0].ver++;
	check(look_up("file") == kPass && look_up("none") == kPass, "a closed bucket");
	start();
	the_buckets[0].way[1].child = XF_CHILD_BUSY;
	check(look_up("file") == kPass, "a name that is being changed");
	the_buckets[0].way[1].child = XF_CHILD_ABSENT;
	check(look_up("file") == -XF_ENOENT, "a name that is known not to exist");
	start();
	the_buckets[0].way[1].child = ((__u64)kOtherGeneration << 32) | kChild;
	check(look_up("file") == kPass && counted_never(), "an entry of the slot's next node");
	the_buckets[0].way[1].child = kNodes;
	check(look_up("file") == kPass, "an entry beyond the array");
	/* The tag alone does not say which directory. */
	for (int word = 0; word < 3; word++) {
		start();
		the_nodes[kRoot].dir_ver++;
		*((__u64 *)&the_buckets[0].way[1] + word) ^= 1ULL << 40;
		check(look_up("file") == kPass && counted_never(), "a way of another name");
	}
	start();
	turn = half_written_way;
	check(look_up("file") == kPass, "a way that changes while it is read");
	start();
	turn = half_written_attributes;
	check(look_up("file") == kPass && counted_never(), "a file that changes meanwhile");
	start();
	turn = name_moves_after_the_attributes;
	check(look_up("file") == kPass && counted_never(), "entry and attributes of two moments");
}

/* ---- directories that are complete ---- */

static void directory_changes_after_the_probe(int nth, bool after, const __u64 *at)
{
	static int of_bucket;

	if (nth == 1 && !after)
		of_bucket = 0;
	if (after && at == &the_buckets[0].ver && ++of_bucket == 2)
		the_nodes[kRoot].dir_ver++;
}

/* The way of "file" is taken before the probe; after it, a listing has put all names back. */
static void evicted_and_listed_again(int nth, bool after, const __u64 *at)
{
	static int of_bucket;

	if (nth == 1 && !after)
		of_bucket = 0;
	if (at != &the_buckets[0].ver)
		return;
	of_bucket += !after;
	if (!after && of_bucket == 1) {
		the_nodes[kRoot].dir_ver++;
		the_buckets[0].ver += 2;
		put(1, kRoot, "another", XF_CHILD_BUSY);
	} else if (after && of_bucket == 2) {
		put(2, kRoot, "file", kChild);
		the_buckets[0].ver += 2;
		the_nodes[kRoot].dir_ver++;
	}
}

static void check_complete_directories(void)
{
	start();
	check(look_up("none") == -XF_ENOENT, "a name that is not in a complete directory");
	the_nodes[kRoot].dir_ver++;
	check(look_up("none") == kPass, "nor in one that is not complete");
	start();
	the_nodes[kRoot].nodeid |= (__u64)kOtherGeneration << 32;
	check(look_up("none") == kPass, "nor in the slot's next directory");
	start();
	check(look_up_in(kNodes, "none") == kPass, "nor in one beyond the array");
	start();
	turn = directory_changes_after_the_probe;
	check(look_up("none") == kPass, "nor in one that changes meanwhile");
	start();
	turn = evicted_and_listed_again;
	check(look_up("file") != -XF_ENOENT, "a name that was evicted and put back exists");
}

/* ---- references ---- */

static int races;

static void another_counts_first(int nth, bool after, const __u64 *at)
{
	(void)nth;
	if (after || at != &child()->ref || !races)
		return;
	races--;
	child()->ref++;
}

static void the_daemon_retires_it(int nth, bool after, const __u64 *at)
{
	(void)nth;
	if (!after && at == &child()->ref)
		child()->ref &= ~XF_REF_ALIVE;
}

static void check_references(void)
{
	start();
	child()->ref &= ~XF_REF_ALIVE;
	check(look_up("file") == kPass && counted_never(), "a node that is gone");
	start();
	child()->ref += 1ULL << 32;
	check(look_up("file") == kPass && counted_never(), "a reference of another generation");
	start();
	child()->ref |= XF_REF_COUNT_MASK;
	check(look_up("file") == kPass && xf_ref_is(child()->ref, kChild), "a full count");
	start();
	reply.refused = true;
	check(look_up("file") == kPass && counted_never(), "no reply, no reference");
	start();
	races = 1;
	turn = another_counts_first;
	check(look_up("file") == 0 && xf_ref_count(child()->ref) == kRefCount + 2,
	      "two that count at once are both counted");
	start();
	races = XF_REF_CAS_TRIES;
	turn = another_counts_first;
	check(look_up("file") == kPass && xf_ref_count(child()->ref) == kRefCount + races + 4,
	      "after too many lost races the daemon answers");
	start();
	turn = the_daemon_retires_it;
	check(look_up("file") == kPass && counted_never(), "a node that goes at this moment");
}

static void check_refusals(void)
{
	int (*const programs[])(struct extfuse_ctx *) = {
		xf_lookup, xf_getattr, xf_statx, xf_getxattr, xf_listxattr, xf_access, xf_open, xf_opendir };

	for (unsigned int i = 0; i < sizeof(programs) / sizeof(programs[0]); i++) {
		start();
		the_policy.flags = XF_POLICY_ACTIVE;
		the_policy.owner_uid = 1000;
		the_cred.fsuid.val = 1001;
		check(ask(programs[i], kChild, "file", 5) == -XF_EACCES && counted_never(), "a stranger");
		the_cred.fsuid.val = 1000;
		check(ask(programs[i], kChild, "file", 5) != -XF_EACCES, "the owner");
	}
	the_cred.fsuid.val = 0;
}

int main(void)
{
	check_attributes();
	check_xattrs();
	check_entries();
	check_complete_directories();
	check_references();
	check_refusals();
	printf("%d failed\n", failures);
	return failures != 0;
}
