// SPDX-License-Identifier: GPL-2.0
// What the checks in the guest share: counted failures, records by hand, clients. They run as root
// with extfuse.ko loaded.
#pragma once

#include <fcntl.h>
#include <grp.h>
#include <linux/fuse.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "bpf/name_tag.h"
#include "bpf/tests/demo_fs.h"
#include "encfs/meta/loader.h"

namespace guest {

using extencfs::meta::AccessPolicy;
using extencfs::meta::FastPathConfig;
using extencfs::meta::FastPathProbe;
using extencfs::meta::FastPathResult;
using extencfs::meta::hook_name;
using extencfs::meta::KernelFastPath;

const std::string kMnt = "/mnt/demo";
const std::string kHelloPath = kMnt + "/hello";
constexpr std::int64_t kServedSize = 4242;  // what the records say of each file
constexpr std::uint64_t kAllKnown = (1ULL << XF_XATTR_KNOWN_NAMES) - 1;

inline int failures = 0;

inline void check(bool good, const std::string& what) {
    std::printf("%s %s\n", good ? "ok  " : "FAIL", what.c_str());
    std::fflush(stdout);
    failures += !good;
}

inline void check_equal(std::uint64_t is, std::uint64_t want, const std::string& what) {
    check(is == want, what + " (" + std::to_string(is) + ", want " + std::to_string(want) + ")");
}

template <typename T>
T must(FastPathResult<T> result, const char* what) {
    if (result) {
        if constexpr (!std::is_void_v<T>)
            return std::move(*result);
        else
            return;
    }
    std::printf("FAIL %s: %s\n", what, result.error().c_str());
    std::exit(99);
}

// ---- records by hand; nobody else writes, so versions are simply set ----

struct Records {
    KernelFastPath& path;

    xf_node& node(std::uint64_t id) { return path.nodes()[xf_slot(id)]; }
    xf_way& way(std::uint64_t parent, const std::string& name, xf_bucket** bucket = nullptr) {
        const xf_tag tag = xf_tag_of(path.config().tag_key, parent, name.data(), name.size());
        xf_bucket& b = path.buckets()[tag.lo & path.config().bucket_mask];
        if (bucket) *bucket = &b;
        for (xf_way& w : b.way)
            if (w.parent == parent && w.tag.lo == tag.lo && w.tag.hi == tag.hi) return w;
        for (xf_way& w : b.way)
            if (w.parent == 0) {
                w.parent = parent;
                w.tag = tag;
                return w;
            }
        std::abort();
    }
    void publish_node(std::uint64_t id) {
        xf_node& n = node(id);
        struct stat st;
        demo::attributes(id, &st);
        n.nodeid = id;
        n.attr = {};
        n.attr.ino = st.st_ino;
        n.attr.mode = st.st_mode;
        n.attr.nlink = st.st_nlink;
        n.attr.size = kServedSize;
        n.attr.blksize = 4096;
        n.xattr_absent = 0;
        n.attr_ver += 2;
        n.xattr_ver += 2;
        n.dir_ver |= 1;
        n.ref = xf_ref_alive(id);
    }
    void publish_entry(std::uint64_t parent, const std::string& name, std::uint64_t child) {
        xf_bucket* b = nullptr;
        way(parent, name, &b).child = child;
        b->ver += 2;
    }
};

// ---- clients: other processes, since this one is the daemon ----

struct Identity {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;
};

// What `body` returns there.
inline int as(const Identity& who, const std::function<int()>& body) {
    std::fflush(stdout);
    const pid_t child = ::fork();
    if (child == 0) {
        ::alarm(60);
        if (::setgroups(who.groups.size(), who.groups.data()) || ::setgid(who.gid) ||
            ::setuid(who.uid))
            ::_exit(255);
        ::_exit(body());
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

constexpr int kStatx = 52;  // FUSE_STATX, which linux/fuse.h has from 7.39 on

const Identity kRoot{};
const Identity kOwner{1000, 1000, {}};
const Identity kStranger{2000, 2000, {}};

// 0, or the errno.
inline int result(long r) {
    return r < 0 ? errno : 0;
}

inline std::uint64_t reached(int opcode) {
    return demo::requests.by_opcode[opcode];
}

inline void report_reached(const char* what, std::uint64_t before) {
    std::printf("     requests that reached the daemon %s: %llu\n", what,
                static_cast<unsigned long long>(demo::requests.total() - before));
}

inline std::int64_t size_of(const std::string& path) {
    struct stat st;
    return ::stat(path.c_str(), &st) ? -errno : st.st_size;
}

// guest_answers.cc
void check_answers(Records& r);
void check_forget(Records& r, std::uint64_t daemon_lookups);

// guest_policy.cc
int may_stat(const Identity& identity);
void check_policy(Records& r, int mount_fd);
void check_root_fresh(Records& r);
void check_root_unpublished(Records& r);
void check_other_files(const std::string& where);
void check_guard(Records& r, int mount_fd);
void print_denials(KernelFastPath& path);

}  // namespace guest
