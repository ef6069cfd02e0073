// SPDX-License-Identifier: GPL-2.0
// Runs in the guest: loads the programs, fills records by hand, and looks at what clients see and
// at what still reaches the daemon.
//   fastpath_guest            all checks; exits with the number of failures
//   fastpath_guest bench N    ns a call (instructions, under QEMU's -icount shift=0)
#include <bpf/bpf.h>

#include "bpf/tests/guest.h"

namespace guest {

namespace {

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
    as(kStranger, [] {
        print_probe("as another user");
        std::fflush(stdout);
        return 0;
    });
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
        check_answers(r);
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
        check_root_fresh(r);
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

bool program_exists(const std::string& name) {
    for (__u32 id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
        bpf_prog_info info{};
        __u32 size = sizeof(info);
        const int fd = bpf_prog_get_fd_by_id(id);
        const bool same =
            fd >= 0 && !bpf_prog_get_info_by_fd(fd, &info, &size) && name == info.name;
        ::close(fd);
        if (same) return true;
    }
    return false;
}

bool map_exists(const std::string& name) {
    for (__u32 id = 0; bpf_map_get_next_id(id, &id) == 0;) {
        bpf_map_info info{};
        __u32 size = sizeof(info);
        const int fd = bpf_map_get_fd_by_id(id);
        const bool same = fd >= 0 && !bpf_map_get_info_by_fd(fd, &info, &size) && name == info.name;
        ::close(fd);
        if (same) return true;
    }
    return false;
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
    check(program_exists("xf_lookup") && map_exists("nodes"), "its programs and maps exist");
    ::kill(daemon, SIGKILL);
    ::waitpid(daemon, nullptr, 0);
    check_equal(may_stat(kOwner), ENOTCONN, "then nothing is answered any more");
    check_equal(may_stat(kStranger), ENOTCONN, "and nobody refused by a policy");
    ::umount2(kMnt.c_str(), MNT_DETACH);
    ::usleep(500000);
    check(!program_exists("xf_lookup") && !program_exists("xf_file_open"), "no program is left");
    check(!map_exists("nodes") && !map_exists("policy"), "no map is left");
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
    r.node(demo::kRoot).attr_valid = 1000;
    as(kOwner, [] { return size_of(kMnt) < 0; });
    bench_refused("mount, root's attributes kept", kMnt, n);
    ::close(mount_fd);
    path.detach();
    return 0;
}

}  // namespace

int run(int argc, char** argv) {
    ::mkdir("/mnt", 0755);
    ::mkdir(kMnt.c_str(), 0755);
    if (argc > 2 && !std::strcmp(argv[1], "bench")) return run_bench(std::atoi(argv[2]));
    run_forget();
    run_halves();
    return run_checks();
}

}  // namespace guest

int main(int argc, char** argv) {
    return guest::run(argc, argv);
}
