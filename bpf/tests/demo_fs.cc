// SPDX-License-Identifier: GPL-2.0
#include "bpf/tests/demo_fs.h"

#include <linux/fuse.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

namespace demo {

Requests requests;

std::string long_name() {
    return std::string(255, 'n');
}

std::uint64_t Requests::total() const {
    std::uint64_t sum = 0;
    for (const auto& count : by_opcode) sum += count;
    return sum;
}

bool attributes(std::uint64_t node, struct stat* st) {
    *st = {};
    st->st_ino = node;
    st->st_nlink = 1;
    st->st_size = kDaemonSize;
    st->st_blksize = 4096;
    switch (node) {
        case kRoot:
        case kDir:
            st->st_mode = S_IFDIR | 0777;
            st->st_nlink = 2;
            return true;
        case kHello:
        case kLong:
            st->st_mode = S_IFREG | 0666;
            return true;
        case kLink:
            st->st_mode = S_IFLNK | 0777;
            return true;
    }
    return false;
}

namespace {

void seen(int opcode) {
    ++requests.by_opcode[opcode];
}

void on_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
    seen(FUSE_LOOKUP);
    fuse_entry_param entry{};
    if (parent == kRoot) {
        if (!std::strcmp(name, "hello")) entry.ino = kHello;
        if (!std::strcmp(name, "dir")) entry.ino = kDir;
        if (!std::strcmp(name, "link")) entry.ino = kLink;
        if (name == long_name()) entry.ino = kLong;
    }
    if (!entry.ino || !attributes(entry.ino, &entry.attr)) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    fuse_reply_entry(req, &entry);
}

void on_forget(fuse_req_t req, fuse_ino_t node, std::uint64_t count) {
    if (node == kHello) requests.forgotten_hello += count;
    fuse_reply_none(req);
}

void on_getattr(fuse_req_t req, fuse_ino_t node, fuse_file_info*) {
    seen(FUSE_GETATTR);
    struct stat st;
    if (attributes(node, &st))
        fuse_reply_attr(req, &st, 0);
    else
        fuse_reply_err(req, ENOENT);
}

void on_setattr(fuse_req_t req, fuse_ino_t node, struct stat*, int, fuse_file_info*) {
    seen(FUSE_SETATTR);
    struct stat st;
    attributes(node, &st);
    fuse_reply_attr(req, &st, 0);
}

void on_readlink(fuse_req_t req, fuse_ino_t) {
    seen(FUSE_READLINK);
    fuse_reply_readlink(req, "hello");
}

void on_open(fuse_req_t req, fuse_ino_t, fuse_file_info* file) {
    seen(FUSE_OPEN);
    file->direct_io = 1;
    fuse_reply_open(req, file);
}

void on_read(fuse_req_t req, fuse_ino_t, std::size_t size, off_t off, fuse_file_info*) {
    seen(FUSE_READ);
    if (off == 0 && size >= 6)
        fuse_reply_buf(req, "hello\n", 6);
    else
        fuse_reply_buf(req, nullptr, 0);
}

void on_opendir(fuse_req_t req, fuse_ino_t, fuse_file_info* file) {
    seen(FUSE_OPENDIR);
    fuse_reply_open(req, file);
}

void on_readdir(fuse_req_t req, fuse_ino_t, std::size_t, off_t, fuse_file_info*) {
    seen(FUSE_READDIR);
    fuse_reply_buf(req, nullptr, 0);
}

void on_statfs(fuse_req_t req, fuse_ino_t) {
    seen(FUSE_STATFS);
    const struct statvfs st {};
    fuse_reply_statfs(req, &st);
}

void on_getxattr(fuse_req_t req, fuse_ino_t, const char*, std::size_t size) {
    seen(FUSE_GETXATTR);
    if (size)
        fuse_reply_buf(req, "daemon", 6);
    else
        fuse_reply_xattr(req, 6);
}

void on_listxattr(fuse_req_t req, fuse_ino_t, std::size_t size) {
    seen(FUSE_LISTXATTR);
    if (size)
        fuse_reply_buf(req, "user.d", 7);
    else
        fuse_reply_xattr(req, 7);
}

void on_setxattr(fuse_req_t req, fuse_ino_t, const char*, const char*, std::size_t, int) {
    seen(FUSE_SETXATTR);
    fuse_reply_err(req, 0);
}

void on_removexattr(fuse_req_t req, fuse_ino_t, const char*) {
    seen(FUSE_REMOVEXATTR);
    fuse_reply_err(req, 0);
}

void on_access(fuse_req_t req, fuse_ino_t, int) {
    seen(FUSE_ACCESS);
    fuse_reply_err(req, 0);
}

void on_name(fuse_req_t req, int opcode) {
    seen(opcode);
    fuse_reply_err(req, EROFS);
}

const fuse_lowlevel_ops kOps = [] {
    fuse_lowlevel_ops ops{};
    ops.lookup = on_lookup;
    ops.forget = on_forget;
    ops.getattr = on_getattr;
    ops.setattr = on_setattr;
    ops.readlink = on_readlink;
    ops.open = on_open;
    ops.read = on_read;
    ops.opendir = on_opendir;
    ops.readdir = on_readdir;
    ops.statfs = on_statfs;
    ops.getxattr = on_getxattr;
    ops.listxattr = on_listxattr;
    ops.setxattr = on_setxattr;
    ops.removexattr = on_removexattr;
    ops.access = on_access;
    ops.mkdir = [](fuse_req_t r, fuse_ino_t, const char*, mode_t) { on_name(r, FUSE_MKDIR); };
    ops.mknod = [](fuse_req_t r, fuse_ino_t, const char*, mode_t, dev_t) {
        on_name(r, FUSE_MKNOD);
    };
    ops.unlink = [](fuse_req_t r, fuse_ino_t, const char*) { on_name(r, FUSE_UNLINK); };
    ops.rmdir = [](fuse_req_t r, fuse_ino_t, const char*) { on_name(r, FUSE_RMDIR); };
    ops.symlink = [](fuse_req_t r, const char*, fuse_ino_t, const char*) {
        on_name(r, FUSE_SYMLINK);
    };
    ops.rename = [](fuse_req_t r, fuse_ino_t, const char*, fuse_ino_t, const char*, unsigned) {
        on_name(r, FUSE_RENAME2);
    };
    ops.link = [](fuse_req_t r, fuse_ino_t, fuse_ino_t, const char*) { on_name(r, FUSE_LINK); };
    ops.create = [](fuse_req_t r, fuse_ino_t, const char*, mode_t, fuse_file_info*) {
        on_name(r, FUSE_CREATE);
    };
    return ops;
}();

}  // namespace

Mount::Mount(const std::string& path) {
    const char* argv[] = {"demo", "-o", "allow_other,default_permissions"};
    fuse_args args = FUSE_ARGS_INIT(3, const_cast<char**>(argv));
    fuse_session* session = fuse_session_new(&args, &kOps, sizeof(kOps), nullptr);
    fuse_opt_free_args(&args);
    if (!session) return;
    if (fuse_session_mount(session, path.c_str()) != 0) {
        fuse_session_destroy(session);
        return;
    }
    session_ = session;
    loop_ = std::thread([session] { fuse_session_loop(session); });
}

Mount::~Mount() {
    if (!session_) return;
    fuse_session_exit(session_);
    fuse_session_unmount(session_);
    loop_.join();
    fuse_session_destroy(session_);
}

}  // namespace demo
