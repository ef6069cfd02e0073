// SPDX-License-Identifier: GPL-2.0
// Who is refused, in which calls, and that nothing of it reaches the daemon.
#include "bpf/tests/guest.h"

namespace guest {

namespace {

struct Attempt {
    const char* what;
    std::function<int()> call;
};

// All by path, by descriptor where no permission is needed for one (O_PATH).
const Attempt kAttempts[] = {
    {"stat root",
     [] {
         struct stat st;
         return result(::stat(kMnt.c_str(), &st));
     }},
    {"stat",
     [] {
         struct stat st;
         return result(::stat(kHelloPath.c_str(), &st));
     }},
    {"lstat link",
     [] {
         struct stat st;
         return result(::lstat((kMnt + "/link").c_str(), &st));
     }},
    {"statx btime",
     [] {
         struct statx st;
         return result(::statx(AT_FDCWD, kMnt.c_str(), 0, STATX_ALL, &st));
     }},
    {"open root", [] { return result(::open(kMnt.c_str(), O_RDONLY | O_DIRECTORY)); }},
    {"open", [] { return result(::open(kHelloPath.c_str(), O_RDONLY)); }},
    {"open O_PATH", [] { return result(::open(kHelloPath.c_str(), O_PATH)); }},
    {"create", [] { return result(::open((kMnt + "/new").c_str(), O_CREAT | O_WRONLY, 0600)); }},
    {"tmpfile", [] { return result(::open(kMnt.c_str(), O_TMPFILE | O_WRONLY, 0600)); }},
    {"O_PATH root, fstat",
     [] {
         struct stat st;
         return result(::fstat(::open(kMnt.c_str(), O_PATH), &st));
     }},
    {"O_PATH root, fchdir", [] { return result(::fchdir(::open(kMnt.c_str(), O_PATH))); }},
    {"O_PATH root, openat",
     [] { return result(::openat(::open(kMnt.c_str(), O_PATH), "hello", O_RDONLY)); }},
    {"O_PATH root, reopen",
     [] {
         return result(::open(
             ("/proc/self/fd/" + std::to_string(::open(kMnt.c_str(), O_PATH))).c_str(), O_RDONLY));
     }},
    {"chdir", [] { return result(::chdir(kMnt.c_str())); }},
    {"chroot or chdir to a dir", [] { return result(::chdir((kMnt + "/dir").c_str())); }},
    {"readlink",
     [] {
         char b[9];
         return result(::readlink((kMnt + "/link").c_str(), b, 9));
     }},
    {"access root", [] { return result(::access(kMnt.c_str(), R_OK)); }},
    {"access", [] { return result(::access(kHelloPath.c_str(), F_OK)); }},
    {"statfs",
     [] {
         struct statfs st;
         return result(::statfs(kMnt.c_str(), &st));
     }},
    {"getxattr user",
     [] {
         char b[9];
         return result(::getxattr(kMnt.c_str(), "user.a", b, 9));
     }},
    {"getxattr security",
     [] {
         char b[9];
         return result(::getxattr(kMnt.c_str(), "security.capability", b, 9));
     }},
    {"getxattr acl",
     [] {
         char b[9];
         return result(::getxattr(kMnt.c_str(), "system.posix_acl_access", b, 9));
     }},
    {"listxattr",
     [] {
         char b[9];
         return result(::listxattr(kMnt.c_str(), b, 9));
     }},
    {"setxattr user", [] { return result(::setxattr(kMnt.c_str(), "user.a", "v", 1, 0)); }},
    {"setxattr acl",
     [] { return result(::setxattr(kMnt.c_str(), "system.posix_acl_access", "\2\0\0\0", 4, 0)); }},
    {"removexattr user", [] { return result(::removexattr(kMnt.c_str(), "user.a")); }},
    {"removexattr acl",
     [] { return result(::removexattr(kMnt.c_str(), "system.posix_acl_access")); }},
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
    {"inotify",
     [] { return result(::inotify_add_watch(::inotify_init(), kMnt.c_str(), IN_ALL_EVENTS)); }},
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

}  // namespace

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

// With fresh attributes the kernel asks for nothing before it calls the hooks.
void check_root_fresh(Records& r) {
    std::puts("--- the same while the kernel keeps the root directory's attributes");
    r.node(demo::kRoot).attr_valid = 1000;
    struct stat st;
    check_equal(as(kOwner, [&] { return result(::stat(kMnt.c_str(), &st)); }), 0, "the owner");
    const auto before = must(r.path.counters(), "counters");
    check_refused("a stranger", kStranger);
    check_many_refused("a stranger", kStranger);
    const auto after = must(r.path.counters(), "counters");
    std::printf("     refused as requests: %llu, by inode_permission: %llu\n",
                static_cast<unsigned long long>(after.denied_by_hook[XF_HOOK_REQUEST] -
                                                before.denied_by_hook[XF_HOOK_REQUEST]),
                static_cast<unsigned long long>(after.denied_by_hook[XF_HOOK_INODE_PERMISSION] -
                                                before.denied_by_hook[XF_HOOK_INODE_PERMISSION]));
    r.node(demo::kRoot).attr_valid = 0;
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
        {"create",
         [&] { return result(::open((sub + "/new").c_str(), O_CREAT | O_WRONLY, 0600)); }},
        {"create at the top",
         [&] { return result(::open((lower + "/new").c_str(), O_CREAT | O_WRONLY, 0600)); }},
        {"mkdir", [&] { return result(::mkdir((sub + "/d").c_str(), 0700)); }},
        {"unlink", [&] { return result(::unlink(file.c_str())); }},
        {"rename out",
         [&] { return result(::rename(file.c_str(), (base + "/beside/f").c_str())); }},
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
    check_equal(
        as(kRoot,
           [&] { return result(::open((base + "/beside/x").c_str(), O_CREAT | O_WRONLY, 0600)); }),
        0, "root beside: writing");
    check_equal(result(::truncate(file.c_str(), 3)), 0, "the daemon below: writing");
    check_other_files(base + "/beside");
    must(r.path.set_policy(mount_fd, {.owner = 1000}), "set_policy");
    check_equal(as(kRoot, [&] { return result(::unlink(file.c_str())); }), 0,
                "not guarded any more");
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

}  // namespace guest
