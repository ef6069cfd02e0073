// SPDX-License-Identifier: GPL-2.0
// Runs in the guest as root with extfuse.ko loaded: loads the programs, fills records by hand, and
// looks at what clients see and at what still reaches the daemon.
//   fastpath_guest            all checks; exits with the number of failures
//   fastpath_guest bench N    ns a call (instructions, under QEMU's -icount shift=0)
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
#include "demo_fs.h"
#include "encfs/meta/loader.h"

using namespace extencfs::meta;

namespace {

const std::string kMnt = "/mnt/demo";
const std::string kHelloPath = kMnt + "/hello";
constexpr std::int64_t kServedSize = 4242;  // what the records say of each file
constexpr std::uint64_t kAllKnown = (1ULL << XF_XATTR_KNOWN_NAMES) - 1;

int failures = 0;

void check(bool good, const std::string& what) {
    std::printf("%s %s\n", good ? "ok  " : "FAIL", what.c_str());
    std::fflush(stdout);
    failures += !good;
}

void check_equal(std::uint64_t is, std::uint64_t want, const std::string& what) {
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
int as(const Identity& who, const std::function<int()>& body) {
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
int result(long r) { return r < 0 ? errno : 0; }

struct Before {
    std::uint64_t total = demo::requests.total();
    std::uint64_t opcode(int op) const { return demo::requests.by_opcode[op]; }
};

std::uint64_t reached(int opcode) { return demo::requests.by_opcode[opcode]; }

void report_reached(const char* what, std::uint64_t before) {
    std::printf("     requests that reached the daemon %s: %llu\n", what,
                static_cast<unsigned long long>(demo::requests.total() - before));
}

std::int64_t size_of(const std::string& path) {
    struct stat st;
    return ::stat(path.c_str(), &st) ? -errno : st.st_size;
}

// ---- answers ----

void check_served(Records& r) {
    std::puts("--- answered from records");
    constexpr int kTimes = 1000;
    auto before = demo::requests.total();
    const auto count_before = must(r.path.counters(), "counters");
    const int bad = as(kRoot, [] {
        for (int i = 0; i < kTimes; ++i)
            if (size_of(kHelloPath) != kServedSize) return 1;
        return 0;
    });
    check_equal(bad, 0, "1000 stats give the record's size");
    check_equal(demo::requests.total() - before, 0, "and no request reaches the daemon");
    const auto counted = must(r.path.counters(), "counters");
    check_equal(counted.served[FUSE_LOOKUP] - count_before.served[FUSE_LOOKUP], kTimes,
                "LOOKUPs counted as served");
    std::printf("     GETATTRs served: %llu\n",
                static_cast<unsigned long long>(counted.served[FUSE_GETATTR] -
                                                count_before.served[FUSE_GETATTR]));
    check_equal(xf_ref_count(r.node(demo::kHello).ref), counted.served[FUSE_LOOKUP],
                "the reference word counts the served LOOKUPs");

    before = demo::requests.total();
    check_equal(as(kRoot, [] { return result(size_of(kMnt + "/missing") < 0 ? -1 : 0); }), ENOENT,
                "a missing name in a complete directory");
    check_equal(as(kRoot, [] { return result(size_of(kMnt + "/" + std::string(255, 'x')) < 0 ? -1 : 0); }),
                ENOENT, "a missing name of 255 bytes");
    check_equal(as(kRoot, [] { return size_of(kMnt + "/" + demo::long_name()) == kServedSize; }), 1,
                "an existing name of 255 bytes");
    check_equal(demo::requests.total() - before, 0, "no request for these");
    before = reached(FUSE_LOOKUP);
    check_equal(as(kRoot, [] { return size_of(kMnt + "/" + std::string(256, 'x')) < 0; }), 1,
                "a name of 256 bytes, which no tag is made of");
    check_equal(reached(FUSE_LOOKUP) - before, 1, "is the daemon's to answer");
}

// STATX is sent for the birth time, until the daemon (whose libfuse does not know it) refuses it.
void check_statx(Records& r) {
    xf_node& n = r.node(demo::kHello);
    n.btime = 1234567;
    n.btime_nsec = 89;
    n.attr_flags = XF_ATTR_BTIME;
    n.attr.rdev = 0;
    const auto served = [&] { return must(r.path.counters(), "counters").served[kStatx]; };
    const auto before = served();
    const int rc = as(kRoot, [] {
        struct statx st {};
        if (::statx(AT_FDCWD, kHelloPath.c_str(), 0, STATX_BASIC_STATS | STATX_BTIME, &st)) return 1;
        if (!(st.stx_mask & STATX_BTIME)) return 2;
        if (st.stx_btime.tv_sec != 1234567 || st.stx_btime.tv_nsec != 89) return 3;
        return st.stx_size == kServedSize && st.stx_mode == (S_IFREG | 0666) ? 0 : 4;
    });
    check_equal(rc, 0, "statx gives the birth time");
    check_equal(served() - before, 1, "STATX served");
    n.attr_flags = 0;
    check_equal(as(kRoot,
                   [] {
                       struct statx st {};
                       return ::statx(AT_FDCWD, kHelloPath.c_str(), 0, STATX_ALL, &st) ? 1 : 0;
                   }),
                0, "statx without a birth time in the record");
    check_equal(served() - before, 1, "is not served");
}

// A writer that changes all fields at once, by the protocol, while clients compare them.
void check_torn(Records& r) {
    std::puts("--- no torn answers");
    xf_node& n = r.node(demo::kHello);
    const xf_attr attr = n.attr;
    std::atomic<bool> stop{false};
    std::uint64_t published = 0;
    std::thread writer([&] {
        for (std::uint64_t value = 1; !stop; ++value, ++published) {
            __atomic_store_n(&n.attr_ver, n.attr_ver + 1, __ATOMIC_RELEASE);
            __atomic_thread_fence(__ATOMIC_SEQ_CST);
            n.attr.size = n.attr.blocks = n.attr.mtime = n.attr.ctime = n.attr.atime = value;
            n.attr.uid = n.attr.gid = value % 1000;
            __atomic_store_n(&n.attr_ver, n.attr_ver + 1, __ATOMIC_RELEASE);
        }
    });
    const auto served = [&] { return must(r.path.counters(), "counters").served[FUSE_GETATTR]; };
    const auto before = served();
    const int bad = as(kRoot, [] {
        std::int64_t last = 0;
        for (int i = 0; i < 20000; ++i) {
            struct stat st;
            if (::stat(kHelloPath.c_str(), &st)) return 1;
            if (st.st_size == demo::kDaemonSize && st.st_mtime == 0) continue;  // it was closed
            if (st.st_mtime != st.st_size || st.st_blocks != st.st_size ||
                st.st_ctime != st.st_size || st.st_atime != st.st_size ||
                st.st_uid != st.st_size % 1000 || st.st_gid != st.st_uid)
                return 2;
            if (st.st_size < last) return 3;
            last = st.st_size;
        }
        return 0;
    });
    stop = true;
    writer.join();
    check_equal(bad, 0, "20000 stats beside a writer are whole, and none is older than the last");
    std::printf("     published %llu, GETATTRs served %llu\n",
                static_cast<unsigned long long>(published),
                static_cast<unsigned long long>(served() - before));
    n.attr = attr;
}

void check_fstat(Records& r) {
    const auto before = reached(FUSE_GETATTR);
    check_equal(as(kRoot,
                   [] {
                       struct stat st {};
                       const int fd = ::open(kHelloPath.c_str(), O_RDONLY);
                       for (int i = 0; i < 100; ++i)
                           if (::fstat(fd, &st) || st.st_size != kServedSize) return 1;
                       return 0;
                   }),
                0, "fstat (GETATTR with a handle)");
    check_equal(reached(FUSE_GETATTR) - before, 0, "and no GETATTR reaches the daemon");
    (void)r;
}

void check_xattrs(Records& r) {
    std::puts("--- extended attributes");
    char value[64];
    const auto get = [&](const char* name, std::size_t size) {
        return as(kRoot, [&] { return result(::getxattr(kHelloPath.c_str(), name, value, size)); });
    };
    const auto list = [&](std::size_t size) {
        return as(kRoot, [&] { return static_cast<int>(::listxattr(kHelloPath.c_str(), value, size)); });
    };
    xf_node& n = r.node(demo::kHello);
    auto before = reached(FUSE_GETXATTR);
    check_equal(get("user.a", 64), 0, "nothing known: the daemon's value");
    check_equal(reached(FUSE_GETXATTR) - before, 1, "one GETXATTR");
    n.xattr_absent = XF_XATTR_CAPABILITY | XF_XATTR_ACL_ACCESS;
    before = reached(FUSE_GETXATTR);
    check_equal(get("security.capability", 64), ENODATA, "known absent");
    check_equal(get("security.capability", 0), ENODATA, "known absent, size asked");
    check_equal(reached(FUSE_GETXATTR) - before, 0, "no GETXATTR");
    check_equal(get("security.capabilitx", 64), 0, "another name of that length");
    check_equal(get("security.capability2", 64), 0, "a longer name");
    check_equal(get("security.capability.that.is.longer.than.32", 64), 0, "a much longer name");
    check_equal(get("user.a", 64), 0, "another namespace");
    check_equal(reached(FUSE_GETXATTR) - before, 4, "four GETXATTRs");
    before = reached(FUSE_LISTXATTR);
    check_equal(list(64), 7, "the daemon's list");
    check_equal(reached(FUSE_LISTXATTR) - before, 1, "one LISTXATTR");

    n.xattr_absent = XF_XATTR_NONE | kAllKnown;
    before = demo::requests.total();
    check_equal(get("user.a", 64), ENODATA, "none at all: user.a");
    check_equal(get("trusted.a", 0), ENODATA, "none at all: trusted.a");
    check_equal(get("security.anything", 64), ENODATA, "none at all: security.anything");
    check_equal(list(64), 0, "none at all: the list is empty");
    check_equal(list(0), 0, "none at all: and of size 0");
    check_equal(demo::requests.total() - before, 0, "no request for these");
    before = reached(FUSE_GETXATTR);
    check_equal(get("strange.a", 64), 0, "a namespace for which the daemon has another error");
    check_equal(get("user.", 64), 0, "a namespace without a name");
    check_equal(reached(FUSE_GETXATTR) - before, 2, "two GETXATTRs");
    before = reached(FUSE_GETXATTR);
    n.xattr_ver |= 1;
    check_equal(get("user.a", 64), 0, "closed: the daemon's value");
    check_equal(reached(FUSE_GETXATTR) - before, 1, "one GETXATTR");
    ++n.xattr_ver;
}

// Each way in which a record must not be used; `spoil` and then `mend`.
void check_passed(const std::string& what, const std::function<void()>& spoil,
                  const std::function<void()>& mend, int opcode) {
    const auto before = reached(opcode);
    spoil();
    const int rc = as(kRoot, [] { return size_of(kHelloPath) == demo::kDaemonSize ? 0 : 1; });
    mend();
    check(reached(opcode) - before >= 1, what + ": goes to the daemon");
    if (opcode == FUSE_GETATTR) check_equal(rc, 0, what + ": the daemon's size");
    check_equal(as(kRoot, [] { return size_of(kHelloPath) == kServedSize ? 0 : 1; }), 0,
                what + ": served again afterwards");
}

void check_closed(Records& r) {
    std::puts("--- records that must not be used");
    xf_node& n = r.node(demo::kHello);
    xf_bucket* b = nullptr;
    xf_way& w = r.way(demo::kRoot, "hello", &b);
    const std::uint64_t ref = n.ref;
    check_passed("attributes closed", [&] { ++n.attr_ver; }, [&] { ++n.attr_ver; }, FUSE_GETATTR);
    check_passed("another node in the slot", [&] { n.nodeid += 1ULL << 32; },
                 [&] { n.nodeid -= 1ULL << 32; }, FUSE_GETATTR);
    check_passed("bucket closed", [&] { ++b->ver; }, [&] { ++b->ver; }, FUSE_LOOKUP);
    check_passed("name being changed", [&] { w.child = XF_CHILD_BUSY; },
                 [&] { w.child = demo::kHello; }, FUSE_LOOKUP);
    check_passed("node dead", [&] { n.ref = ref & ~XF_REF_ALIVE; }, [&] { n.ref = ref; },
                 FUSE_LOOKUP);
    check_passed("count full", [&] { n.ref = ref | XF_REF_COUNT_MASK; }, [&] { n.ref = ref; },
                 FUSE_LOOKUP);
    check_passed("reference of another generation", [&] { n.ref = ref + (1ULL << 32); },
                 [&] { n.ref = ref; }, FUSE_LOOKUP);
    check_passed("child beyond the array",
                 [&] { w.child = (5ULL << 32) | r.path.config().node_count; },
                 [&] { w.child = demo::kHello; }, FUSE_LOOKUP);
    check_passed("name unknown, directory not complete",
                 [&] { ++r.node(demo::kRoot).dir_ver; w.parent = 0; },
                 [&] { ++r.node(demo::kRoot).dir_ver; w.parent = demo::kRoot; }, FUSE_LOOKUP);
    w.child = XF_CHILD_ABSENT;
    const auto before = demo::requests.total();
    check_equal(as(kRoot, [] { return size_of(kHelloPath) == -ENOENT; }), 1, "known not to exist");
    check_equal(demo::requests.total() - before, 0, "no request for it");
    w.child = demo::kHello;
}

void check_forget(Records& r, std::uint64_t daemon_lookups) {
    std::puts("--- references");
    const auto served = xf_ref_count(r.node(demo::kHello).ref);
    std::system("echo 2 > /proc/sys/vm/drop_caches");
    ::usleep(300000);
    std::printf("     daemon's LOOKUP replies and served ones: %llu + %u, forgotten: %llu\n",
                static_cast<unsigned long long>(daemon_lookups), served,
                static_cast<unsigned long long>(demo::requests.forgotten_hello));
    check_equal(demo::requests.forgotten_hello, daemon_lookups + served,
                "FORGETs are of the daemon's LOOKUPs and the served ones");
}

// ---- the policy ----

struct Attempt {
    const char* what;
    std::function<int()> call;
};

// All by path, by descriptor where no permission is needed for one (O_PATH).
const Attempt kAttempts[] = {
    {"stat root", [] { struct stat st; return result(::stat(kMnt.c_str(), &st)); }},
    {"stat", [] { struct stat st; return result(::stat(kHelloPath.c_str(), &st)); }},
    {"lstat link", [] { struct stat st; return result(::lstat((kMnt + "/link").c_str(), &st)); }},
    {"statx btime", [] { struct statx st; return result(::statx(AT_FDCWD, kMnt.c_str(), 0, STATX_ALL, &st)); }},
    {"open root", [] { return result(::open(kMnt.c_str(), O_RDONLY | O_DIRECTORY)); }},
    {"open", [] { return result(::open(kHelloPath.c_str(), O_RDONLY)); }},
    {"open O_PATH", [] { return result(::open(kHelloPath.c_str(), O_PATH)); }},
    {"create", [] { return result(::open((kMnt + "/new").c_str(), O_CREAT | O_WRONLY, 0600)); }},
    {"tmpfile", [] { return result(::open(kMnt.c_str(), O_TMPFILE | O_WRONLY, 0600)); }},
    {"O_PATH root, fstat", [] { struct stat st; return result(::fstat(::open(kMnt.c_str(), O_PATH), &st)); }},
    {"O_PATH root, fchdir", [] { return result(::fchdir(::open(kMnt.c_str(), O_PATH))); }},
    {"O_PATH root, openat", [] { return result(::openat(::open(kMnt.c_str(), O_PATH), "hello", O_RDONLY)); }},
    {"O_PATH root, reopen", [] { return result(::open(("/proc/self/fd/" + std::to_string(::open(kMnt.c_str(), O_PATH))).c_str(), O_RDONLY)); }},
    {"chdir", [] { return result(::chdir(kMnt.c_str())); }},
    {"chroot or chdir to a dir", [] { return result(::chdir((kMnt + "/dir").c_str())); }},
    {"readlink", [] { char b[9]; return result(::readlink((kMnt + "/link").c_str(), b, 9)); }},
    {"access root", [] { return result(::access(kMnt.c_str(), R_OK)); }},
    {"access", [] { return result(::access(kHelloPath.c_str(), F_OK)); }},
    {"statfs", [] { struct statfs st; return result(::statfs(kMnt.c_str(), &st)); }},
    {"getxattr user", [] { char b[9]; return result(::getxattr(kMnt.c_str(), "user.a", b, 9)); }},
    {"getxattr security", [] { char b[9]; return result(::getxattr(kMnt.c_str(), "security.capability", b, 9)); }},
    {"getxattr acl", [] { char b[9]; return result(::getxattr(kMnt.c_str(), "system.posix_acl_access", b, 9)); }},
    {"listxattr", [] { char b[9]; return result(::listxattr(kMnt.c_str(), b, 9)); }},
    {"setxattr user", [] { return result(::setxattr(kMnt.c_str(), "user.a", "v", 1, 0)); }},
    {"setxattr acl", [] { return result(::setxattr(kMnt.c_str(), "system.posix_acl_access", "\2\0\0\0", 4, 0)); }},
    {"removexattr user", [] { return result(::removexattr(kMnt.c_str(), "user.a")); }},
    {"removexattr acl", [] { return result(::removexattr(kMnt.c_str(), "system.posix_acl_access")); }},
    {"chmod", [] { return result(::chmod(kMnt.c_str(), 0700)); }},
    {"chown", [] { return result(::chown(kMnt.c_str(), ::getuid(), -1)); }},
    {"utimes", [] { return result(::utimes(kMnt.c_str(), nullptr)); }},
    {"truncate", [] { return result(::truncate(kHelloPath.c_str(), 0)); }},
    {"mkdir", [] { return result(::mkdir((kMnt + "/d").c_str(), 0700)); }},
    {"mknod", [] { return result(::mknod((kMnt + "/p").c_str(), S_IFIFO | 0600, 0)); }},
    {"symlink", [] { return result(::symlink("x", (kMnt + "/s").c_str())); }},
    {"unlink", [] { return result(::unlink(kHelloPath.c_str())); }},
    {"rmdir", [] { return result(::rmdir((kMnt + "/dir").c_str())); }},
    {"rename", [] { return result(::rename(kHelloPath.c_str(), (kMnt + "/b").c_str())); }},
    {"link", [] { return result(::link(kHelloPath.c_str(), (kMnt + "/b").c_str())); }},
    {"inotify", [] { return result(::inotify_add_watch(::inotify_init(), kMnt.c_str(), IN_ALL_EVENTS)); }},
};

// Every attempt is refused, and nothing reaches the daemon.
void check_refused(const char* who, const Identity& identity) {
    const auto before = demo::requests.total();
    for (const Attempt& attempt : kAttempts) {
        const auto start = demo::requests.total();
        const int error = as(identity, attempt.call);
        const auto sent = demo::requests.total() - start;
        // chmod and its like are refused by the owner check before any hook.
        if ((error != EACCES && error != EPERM && error != EOPNOTSUPP) || sent != 0)
            check(false, std::string(who) + ": " + attempt.what + ": errno " +
                             std::to_string(error) + ", requests " + std::to_string(sent));
    }
    check_equal(demo::requests.total() - before, 0,
                std::string(who) + ": refused in " + std::to_string(std::size(kAttempts)) +
                    " calls, and none reaches the daemon");
}

void check_many_refused(const char* who, const Identity& identity) {
    const auto before = demo::requests.total();
    const int error = as(identity, [] {
        struct stat st;
        for (int i = 0; i < 10000; ++i) {
            if (::stat(kHelloPath.c_str(), &st) == 0 || errno != EACCES) return 1;
            if (::open(kHelloPath.c_str(), O_RDONLY) >= 0 || errno != EACCES) return 2;
        }
        return 0;
    });
    check_equal(error, 0, std::string(who) + ": 10000 stats and 10000 opens refused");
    check_equal(demo::requests.total() - before, 0, "and none reaches the daemon");
}

int may_stat(const Identity& identity) {
    return as(identity, [] {
        struct stat st;
        return result(::stat(kHelloPath.c_str(), &st));
    });
}

void check_policy(Records& r, int mount_fd) {
    std::puts("--- who is admitted");
    const auto set = [&](const AccessPolicy& policy) {
        const auto before = demo::requests.total();
        must(r.path.set_policy(mount_fd, policy), "set_policy");
        check_equal(demo::requests.total() - before, 0, "setting the policy sends no request");
    };
    set({.owner = 1000});
    check_equal(may_stat(kOwner), 0, "the owner");
    check_equal(may_stat(kRoot), 0, "root");
    check_equal(may_stat(kStranger), EACCES, "a stranger");
    check_refused("a stranger", kStranger);
    check_many_refused("a stranger", kStranger);
    set({.owner = 1000, .deny_root = true});
    check_equal(may_stat(kOwner), 0, "the owner under deny-root");
    check_refused("root under deny-root", kRoot);
    check_many_refused("root under deny-root", kRoot);
    struct stat st;
    check_equal(::stat(kHelloPath.c_str(), &st), 0, "the daemon itself (it runs as root)");
    set({.owner = 1000, .deny_root = true, .allow_uids = {2000, 7}});
    check_equal(may_stat(kStranger), 0, "an allowed uid");
    check_equal(may_stat({2001, 2000, {}}), EACCES, "the next uid");
    set({.owner = 1000, .allow_gids = {500, 70000}});
    check_equal(may_stat({2000, 500, {}}), 0, "an allowed gid");
    check_equal(may_stat({2000, 501, {}}), EACCES, "the next gid");
    std::vector<gid_t> groups;
    for (gid_t g = 60000; g < 61000; ++g) groups.push_back(g);
    check_equal(may_stat({2000, 501, groups}), EACCES, "a thousand other groups");
    groups.push_back(70000);
    check_equal(may_stat({2000, 501, groups}), 0, "an allowed gid among a thousand");
    check_equal(may_stat({2000, 501, {3, 500, 9}}), 0, "an allowed gid between others");
    check_equal(as(kRoot,
                   [] {
                       ::setfsuid(2000);
                       struct stat s;
                       return result(::stat(kHelloPath.c_str(), &s));
                   }),
                EACCES, "root with a stranger's file system uid");
    set({.owner = 1000});
}

// The GETATTR that the kernel's own permission check asks for comes before the LSM's.
void check_root_unpublished(Records& r) {
    std::puts("--- the same while the root directory's attributes are closed");
    ++r.node(demo::kRoot).attr_ver;
    const auto before = must(r.path.counters(), "counters");
    check_refused("a stranger", kStranger);
    const auto after = must(r.path.counters(), "counters");
    std::printf("     refused as requests: %llu\n",
                static_cast<unsigned long long>(after.denied_by_hook[XF_HOOK_REQUEST] -
                                                before.denied_by_hook[XF_HOOK_REQUEST]));
    r.path.detach();
    const auto total = demo::requests.total();
    check_equal(may_stat(kStranger), EACCES, "a stranger, by LSM alone");
    report_reached("(root's GETATTR, by LSM alone)", total);
    ++r.node(demo::kRoot).attr_ver;
}

void check_other_files(const std::string& where) {
    check_equal(as(kStranger,
                   [&] {
                       const std::string file = where + "/other";
                       const int fd = ::open(file.c_str(), O_CREAT | O_RDWR, 0600);
                       struct stat st;
                       return result(fd < 0 || ::fstat(fd, &st) || ::unlink(file.c_str()) ? -1 : 0);
                   }),
                0, "a stranger elsewhere: " + where);
}

void check_guard(Records& r, int mount_fd) {
    std::puts("--- the guarded lower directory");
    const std::string base = "/tmp/base", lower = base + "/lower";
    for (const auto& dir : {base, lower, lower + "/sub", base + "/beside"}) {
        ::mkdir(dir.c_str(), 0777);
        ::chmod(dir.c_str(), 0777);
    }
    const std::string file = lower + "/sub/file";
    ::close(::open(file.c_str(), O_CREAT | O_WRONLY, 0666));
    ::chmod(file.c_str(), 0666);
    const int fd = ::open(lower.c_str(), O_RDONLY | O_DIRECTORY);
    must(r.path.set_policy(mount_fd, {.owner = 1000, .lower_dir = fd}), "set_policy");
    ::close(fd);
    const auto sub = lower + "/sub";
    const Attempt writes[] = {
        {"open for writing", [&] { return result(::open(file.c_str(), O_WRONLY)); }},
        {"open for appending", [&] { return result(::open(file.c_str(), O_WRONLY | O_APPEND)); }},
        {"create", [&] { return result(::open((sub + "/new").c_str(), O_CREAT | O_WRONLY, 0600)); }},
        {"create at the top", [&] { return result(::open((lower + "/new").c_str(), O_CREAT | O_WRONLY, 0600)); }},
        {"mkdir", [&] { return result(::mkdir((sub + "/d").c_str(), 0700)); }},
        {"unlink", [&] { return result(::unlink(file.c_str())); }},
        {"rename out", [&] { return result(::rename(file.c_str(), (base + "/beside/f").c_str())); }},
        {"link out", [&] { return result(::link(file.c_str(), (base + "/beside/f").c_str())); }},
        {"truncate", [&] { return result(::truncate(file.c_str(), 0)); }},
        {"chmod", [&] { return result(::chmod(file.c_str(), 0777)); }},
        {"chown", [&] { return result(::chown(file.c_str(), 1, 1)); }},
        {"utimes", [&] { return result(::utimes(file.c_str(), nullptr)); }},
        {"setxattr", [&] { return result(::setxattr(file.c_str(), "trusted.a", "v", 1, 0)); }},
    };
    for (const Attempt& attempt : writes) {
        check_equal(as(kRoot, attempt.call), EPERM, std::string("root below: ") + attempt.what);
    }
    check_equal(as(kRoot, [&] { return result(::open(file.c_str(), O_RDONLY)); }), 0,
                "root below: reading");
    check_equal(as(kRoot, [&] { return result(::open((base + "/beside/x").c_str(), O_CREAT | O_WRONLY, 0600)); }),
                0, "root beside: writing");
    check_equal(result(::truncate(file.c_str(), 3)), 0, "the daemon below: writing");
    check_other_files(base + "/beside");
    must(r.path.set_policy(mount_fd, {.owner = 1000}), "set_policy");
    check_equal(as(kRoot, [&] { return result(::unlink(file.c_str())); }), 0, "not guarded any more");
}

void print_denials(KernelFastPath& path) {
    const auto counters = must(path.counters(), "counters");
    std::uint64_t all = 0;
    for (std::uint32_t hook = 0; hook < XF_HOOK_COUNT; ++hook) {
        all += counters.denied_by_hook[hook];
        std::printf("     denied by %s: %llu\n", hook_name(hook),
                    static_cast<unsigned long long>(counters.denied_by_hook[hook]));
    }
    std::uint64_t logged = 0;
    path.drain_denials([&](const xf_denial& d) {
        if (logged++ == 0)
            std::printf("     first in the log: uid %u pid %u (%s) at %s\n", d.uid, d.tgid, d.comm,
                        hook_name(d.hook));
    });
    std::printf("     logged %llu, not logged %llu\n", static_cast<unsigned long long>(logged),
                static_cast<unsigned long long>(counters.denials_not_logged));
    check_equal(logged + counters.denials_not_logged, all, "every refusal is logged or counted");
}

FastPathConfig config() {
    FastPathConfig c;
    c.tag_key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
    c.xattr_namespaces = XF_NS_USER | XF_NS_TRUSTED | XF_NS_SECURITY | XF_NS_POSIX_ACL;
    return c;
}

void publish_all(Records& r) {
    for (const auto id : {demo::kRoot, demo::kHello, demo::kDir, demo::kLink, demo::kLong})
        r.publish_node(id);
    r.publish_entry(demo::kRoot, "hello", demo::kHello);
    r.publish_entry(demo::kRoot, "dir", demo::kDir);
    r.publish_entry(demo::kRoot, "link", demo::kLink);
    r.publish_entry(demo::kRoot, demo::long_name(), demo::kLong);
    ++r.node(demo::kRoot).dir_ver;  // complete
}

void print_probe(const char* when) {
    const FastPathProbe probe = KernelFastPath::probe();
    std::printf("probe %s:\n", when);
    for (const auto& s : probe.metadata) std::printf("     metadata: %s\n", s.c_str());
    for (const auto& s : probe.access) std::printf("     access: %s\n", s.c_str());
}

double now_ns() {
    timespec t;
    ::clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

int run_checks() {
    print_probe("as root");
    as(kStranger, [] { print_probe("as another user"); std::fflush(stdout); return 0; });
    const double start = now_ns();
    KernelFastPath path = must(KernelFastPath::load(config()), "load");
    std::printf("loaded in %.0f ms; map bytes %zu, entries %zu\n", (now_ns() - start) / 1e6,
                path.map_bytes(), path.map_entries());
    {
        demo::Mount mount(kMnt);
        check(mount.ok(), "mounted");
        Records r{path};
        publish_all(r);
        const int mount_fd = ::open(kMnt.c_str(), O_RDONLY | O_DIRECTORY);
        must(path.attach(mount_fd), "attach");
        check_equal(path.map_entries(), 9, "entries in the maps");
        check_served(r);
        check_fstat(r);
        check_statx(r);
        check_torn(r);
        check_xattrs(r);
        check_closed(r);
        // hello only: stat of the other names is in reached() too.
        path.detach();
        auto before = reached(FUSE_LOOKUP);
        check_equal(as(kRoot, [] { return size_of(kHelloPath) == demo::kDaemonSize ? 0 : 1; }), 0,
                    "detached: the daemon's size");
        check(reached(FUSE_LOOKUP) - before >= 1, "detached: LOOKUP reaches the daemon");
        must(path.attach(mount_fd), "attach again");
        before = demo::requests.total();
        check_equal(as(kRoot, [] { return size_of(kHelloPath) == kServedSize ? 0 : 1; }), 0,
                    "attached again: the record's size");
        check_equal(demo::requests.total() - before, 0, "attached again: no request");
        check_policy(r, mount_fd);
        check_root_unpublished(r);
        must(path.attach(mount_fd), "attach again");
        check_other_files("/tmp");
        check_guard(r, mount_fd);
        print_denials(path);
        ::close(mount_fd);
        path.detach();
    }
    std::puts("--- after the mount");
    // The device number of the mount is free again: tmpfs gets the lowest one.
    ::mount("none", kMnt.c_str(), "tmpfs", 0, "mode=777");
    check_other_files(kMnt);
    ::umount(kMnt.c_str());
    path.wipe();
    check_equal(path.map_entries(), 0, "wiped");
    std::printf("%d failures\n", failures);
    return failures;
}

// Balance of references, on a fresh mount: LOOKUP replies of the daemon are few and known.
int run_forget() {
    KernelFastPath path = must(KernelFastPath::load(config()), "load");
    demo::Mount mount(kMnt);
    Records r{path};
    publish_all(r);
    r.node(demo::kRoot).dir_ver |= 1;
    const int mount_fd = ::open(kMnt.c_str(), O_RDONLY | O_DIRECTORY);
    const auto before = reached(FUSE_LOOKUP);
    as(kRoot, [] { return size_of(kHelloPath) < 0; });
    const auto daemon = reached(FUSE_LOOKUP) - before;
    must(path.attach(mount_fd), "attach");
    as(kRoot, [] {
        for (int i = 0; i < 500; ++i) size_of(kHelloPath);
        return 0;
    });
    check_forget(r, daemon);
    path.detach();
    ::close(mount_fd);
    return 0;
}

// Half of it each, and the end of the daemon.
int run_halves() {
    std::puts("--- LSM alone");
    FastPathConfig half = config();
    half.metadata = false;
    {
        KernelFastPath path = must(KernelFastPath::load(half), "load access");
        demo::Mount mount(kMnt);
        const int mount_fd = ::open(kMnt.c_str(), O_PATH);
        check(!path.attach(mount_fd).has_value(), "cannot attach what is not loaded");
        must(path.set_policy(mount_fd, {.owner = 1000}), "set_policy");
        ::close(mount_fd);
        check_equal(may_stat(kOwner), 0, "the owner");
        check_equal(may_stat(kStranger), EACCES, "a stranger");
        check(!path.attached() && path.nodes().empty(), "no records");
    }
    std::puts("--- the programs that answer alone");
    half.metadata = true;
    half.access = false;
    {
        KernelFastPath path = must(KernelFastPath::load(half), "load metadata");
        demo::Mount mount(kMnt);
        const int mount_fd = ::open(kMnt.c_str(), O_RDONLY | O_DIRECTORY);
        must(path.set_policy(mount_fd, {.owner = 1000}), "set_policy");
        must(path.attach(mount_fd), "attach");
        ::close(mount_fd);
        check_equal(may_stat(kOwner), 0, "the owner");
        const auto before = demo::requests.total();
        check_equal(may_stat(kStranger), EACCES, "a stranger");
        check_equal(demo::requests.total() - before, 0, "no request");
    }
    std::puts("--- a daemon that is killed");
    std::fflush(stdout);
    int ready[2];
    if (::pipe(ready)) return 1;
    const pid_t daemon = ::fork();
    if (daemon == 0) {
        KernelFastPath path = must(KernelFastPath::load(config()), "load");
        demo::Mount mount(kMnt);
        Records r{path};
        publish_all(r);
        const int mount_fd = ::open(kMnt.c_str(), O_RDONLY | O_DIRECTORY);
        must(path.attach(mount_fd), "attach");
        must(path.set_policy(mount_fd, {.owner = 1000}), "set_policy");
        ::close(mount_fd);
        if (::write(ready[1], "r", 1) != 1) ::_exit(1);
        for (;;) ::pause();
    }
    char byte;
    check_equal(::read(ready[0], &byte, 1), 1, "it serves");
    check_equal(as(kOwner, [] { return size_of(kHelloPath) == kServedSize ? 0 : 1; }), 0,
                "its records are served");
    check_equal(may_stat(kStranger), EACCES, "and a stranger is refused");
    ::kill(daemon, SIGKILL);
    ::waitpid(daemon, nullptr, 0);
    check_equal(may_stat(kOwner), ENOTCONN, "then nothing is answered any more");
    check_equal(may_stat(kStranger), ENOTCONN, "and nobody refused by a policy");
    ::umount2(kMnt.c_str(), MNT_DETACH);
    ::usleep(500000);
    std::fflush(stdout);
    // Nothing is left behind: no program, no map of these names.
    check_equal(std::system("bpftool prog show | grep -q ' name xf_'") == 0, 0, "no program is left");
    check_equal(std::system("bpftool map show | grep -qE ' name (nodes|buckets|policy) '") == 0, 0,
                "no map is left");
    return 0;
}

// ---- cost ----

void bench(const char* what, int n, const std::function<void()>& call) {
    for (int i = 0; i < 50; ++i) call();
    const double start = now_ns();
    for (int i = 0; i < n; ++i) call();
    std::printf("%-44s %8.0f\n", what, (now_ns() - start) / n);
    std::fflush(stdout);
}

void bench_all(const std::string& title, const std::string& dir, int n) {
    as(kOwner, [&] {
        ::alarm(600);
        const std::string hello = dir + "/hello", missing = dir + "/missing";
        struct stat st;
        char b[64];
        bench((title + ": stat").c_str(), n, [&] { ::stat(hello.c_str(), &st); });
        const int fd = ::open(hello.c_str(), O_RDONLY);
        bench((title + ": fstat").c_str(), n, [&] { ::fstat(fd, &st); });
        bench((title + ": getxattr").c_str(), n,
              [&] { ::getxattr(hello.c_str(), "user.a", b, sizeof(b)); });
        bench((title + ": stat of a missing name").c_str(), n,
              [&] { ::stat(missing.c_str(), &st); });
        return 0;
    });
}

void bench_refused(const std::string& title, const std::string& dir, int n) {
    as(kStranger, [&] {
        ::alarm(600);
        const std::string hello = dir + "/hello";
        struct stat st;
        bench((title + ": refused stat").c_str(), n, [&] { ::stat(hello.c_str(), &st); });
        bench((title + ": refused open").c_str(), n, [&] { ::open(hello.c_str(), O_RDONLY); });
        return 0;
    });
}

int run_bench(int n) {
    const std::string lower = "/tmp/lower";
    ::mkdir(lower.c_str(), 0755);
    ::close(::open((lower + "/hello").c_str(), O_CREAT | O_WRONLY, 0644));
    bench_all("lower, no programs", lower, n);
    KernelFastPath path = must(KernelFastPath::load(config()), "load");
    demo::Mount mount(kMnt);
    Records r{path};
    publish_all(r);
    r.node(demo::kHello).xattr_absent = XF_XATTR_NONE | kAllKnown;
    bench_all("daemon", kMnt, n / 5);
    const int mount_fd = ::open(kMnt.c_str(), O_RDONLY | O_DIRECTORY);
    must(path.attach(mount_fd), "attach");
    bench_all("BPF, no policy", kMnt, n);
    must(path.set_policy(mount_fd, {.owner = 1000}), "set_policy");
    bench_all("BPF and policy", kMnt, n);
    bench_all("lower, LSM attached", lower, n);
    ::chmod(lower.c_str(), 0700);
    bench_refused("lower, LSM attached", lower, n);
    bench_refused("mount", kMnt, n);
    ::close(mount_fd);
    path.detach();
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    ::mkdir("/mnt", 0755);
    ::mkdir(kMnt.c_str(), 0755);
    if (argc > 2 && !std::strcmp(argv[1], "bench")) return run_bench(std::atoi(argv[2]));
    run_forget();
    run_halves();
    return run_checks();
}
