// SPDX-License-Identifier: GPL-2.0
/*
 * fusedemo MOUNTPOINT SIZE: a FUSE daemon that counts.
 *
 * /hello has SIZE bytes; it refuses every change with EACCES, except that it takes writes. /counters says in JSON how
 * many requests of each kind there have been, those about /counters itself left out, and who sent the last. Timeouts
 * are 0: whatever the kernel wants to know, it asks.
 */
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOT = 1, HELLO, COUNTERS };

static unsigned long long lookups, getattrs, getxattrs, opens, accesses, changes, forgotten;
static struct fuse_ctx last;
static off_t hello_size;

static void count(fuse_req_t req, unsigned long long *counter)
{
	last = *fuse_req_ctx(req);
	++*counter;
}

static int fill(fuse_ino_t ino, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = ino;
	st->st_mode = ino == ROOT ? S_IFDIR | 0777 : S_IFREG | 0666;
	st->st_nlink = 1;
	st->st_size = ino == HELLO ? hello_size : 0;
	return ino > COUNTERS ? ENOENT : 0;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param entry = { .ino = !strcmp(name, "hello") ? HELLO : !strcmp(name, "counters") ? COUNTERS : 0 };

	if (entry.ino != COUNTERS)
		count(req, &lookups);
	if (!entry.ino || parent != ROOT) {
		fuse_reply_err(req, ENOENT);
		return;
	}
	fill(entry.ino, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	if (ino == HELLO)
		count(req, &getattrs);
	if (fill(ino, &st))
		fuse_reply_err(req, ENOENT);
	else
		fuse_reply_attr(req, &st, 0);
}

static void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t nlookup)
{
	if (ino == HELLO)
		forgotten += nlookup;
	fuse_reply_none(req);
}

static void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	count(req, &getxattrs);
	fuse_reply_err(req, ENODATA);
}

static void on_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	if (ino != COUNTERS)
		count(req, &accesses);
	fuse_reply_err(req, 0);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	if (ino != COUNTERS)
		count(req, &opens);
	fuse_reply_open(req, fi);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	char text[512] = "";
	int length = 0;

	if (ino == COUNTERS)
		length = snprintf(text, sizeof(text),
				  "{\"lookup\": %llu, \"getattr\": %llu, \"getxattr\": %llu, \"open\": %llu, "
				  "\"access\": %llu, \"change\": %llu, \"forgotten\": %llu, "
				  "\"uid\": %u, \"gid\": %u, \"pid\": %d}\n",
				  lookups, getattrs, getxattrs, opens, accesses, changes, forgotten,
				  last.uid, last.gid, last.pid);
	if (off >= length)
		length = off = 0;
	fuse_reply_buf(req, text + off, (size_t)(length - off) < size ? (size_t)(length - off) : size);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	count(req, &changes);
	fuse_reply_write(req, size);
}

static void refuse(fuse_req_t req)
{
	count(req, &changes);
	fuse_reply_err(req, EACCES);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int set, struct fuse_file_info *fi) { refuse(req); }
static void on_mknod(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, dev_t dev) { refuse(req); }
static void on_mkdir(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode) { refuse(req); }
static void on_remove(fuse_req_t req, fuse_ino_t dir, const char *name) { refuse(req); }
static void on_symlink(fuse_req_t req, const char *link, fuse_ino_t dir, const char *name) { refuse(req); }
static void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char *name) { refuse(req); }
static void on_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t new_dir, const char *new_name,
		      unsigned int flags) { refuse(req); }
static void on_create(fuse_req_t req, fuse_ino_t dir, const char *name, mode_t mode, struct fuse_file_info *fi) { refuse(req); }
static void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
			int flags) { refuse(req); }
static void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name) { refuse(req); }
static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t length,
			 struct fuse_file_info *fi) { refuse(req); }
static void on_copy(fuse_req_t req, fuse_ino_t in, off_t in_off, struct fuse_file_info *in_fi, fuse_ino_t out, off_t out_off,
		    struct fuse_file_info *out_fi, size_t length, int flags) { refuse(req); }

int main(int argc, char **argv)
{
	static const struct fuse_lowlevel_ops ops = {
		.lookup = on_lookup, .getattr = on_getattr, .forget = on_forget, .getxattr = on_getxattr,
		.access = on_access, .open = on_open, .read = on_read, .write = on_write, .setattr = on_setattr,
		.mknod = on_mknod, .mkdir = on_mkdir, .unlink = on_remove, .rmdir = on_remove, .symlink = on_symlink,
		.link = on_link, .rename = on_rename, .create = on_create, .setxattr = on_setxattr,
		.removexattr = on_removexattr, .fallocate = on_fallocate, .copy_file_range = on_copy,
	};
	char *options[] = { argv[0], "-oallow_other,fsname=fusedemo", NULL };
	struct fuse_args args = FUSE_ARGS_INIT(2, options);
	struct fuse_session *session;
	int ret;

	if (argc != 3)
		return 2;
	hello_size = atoll(argv[2]);
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session || fuse_session_mount(session, argv[1]))
		return 1;
	ret = fuse_session_loop(session);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return ret;
}
