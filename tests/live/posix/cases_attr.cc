// SPDX-License-Identifier: Apache-2.0
// chmod, chown, utimensat, which call moves which time, statfs, st_blocks.
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/xattr.h>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

const Register chmod_case("attr.chmod", [](const Trace& t) {
    put(t, "f", "x");
    ::mkdir("d", 0755);
    for (const mode_t mode :
         {0, 01, 02, 04, 010, 0100, 0400, 0644, 0777, 01777, 02777, 04777, 07777}) {
        t.ret(fmt::format("chmod {:o}", mode), ::chmod("f", mode));
        t.stat("f", "f");
        t.ret("chmod of the directory", ::chmod("d", mode));
        t.stat("d", "d");
    }
    const int fd = ::open("f", O_RDWR | O_CLOEXEC);
    t.ret("fchmod", ::fchmod(fd, 0640));
    t.fstat("f", fd);
    t.ret("unlink", ::unlink("f"));
    t.ret("fchmod without a name", ::fchmod(fd, 0604));
    t.ret("fchown without a name", ::fchown(fd, ::getuid(), ::getgid()));
    const timespec when[2] = {{5, 6}, {7, 8}};
    t.ret("futimens without a name", ::futimens(fd, when));
    t.fstat("f", fd);
    t.ret("of nothing", ::chmod("no", 0644));
    const int dir = ::open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    t.ret("fchmod of a directory", ::fchmod(dir, 0711));
    t.fstat("d", dir);
});

const Register chown_case(
    "attr.chown",
    [](const Trace& t) {
        put(t, "f", "x");
        ::mkdir("d", 0755);
        t.ret("chmod", ::chmod("f", 06755));
        t.ret("both", ::chown("f", 1001, 1002));
        t.stat("suid and sgid go when root changes the owner", "f");
        t.ret("chmod", ::chmod("f", 06745));
        t.ret("to the same owner", ::chown("f", 1001, 1002));
        t.stat("sgid without group execute is a lock mark", "f");
        t.ret("owner only", ::chown("f", 1003, static_cast<gid_t>(-1)));
        t.stat("f", "f");
        t.ret("group only", ::chown("f", static_cast<uid_t>(-1), 1004));
        t.stat("f", "f");
        t.ret("neither", ::chown("f", static_cast<uid_t>(-1), static_cast<gid_t>(-1)));
        t.stat("f", "f");
        t.ret("large ids", ::chown("f", 3000000000u, 4294967294u));
        t.stat("f", "f");
        t.ret("chmod of the directory", ::chmod("d", 06755));
        t.ret("directory", ::chown("d", 1001, 1002));
        t.stat("a directory keeps them", "d");
        (void)!::symlink("f", "l");
        t.ret("lchown", ::lchown("l", 7, 8));
        t.stat("l", "l");
        t.ret("through it", ::chown("l", 9, 10));
        t.stat("f", "f");
        t.ret("of nothing", ::chown("no", 1, 1));
    },
    Needs::kRoot);

const Register utimens("attr.utimens", [](const Trace& t) {
    put(t, "f", "x");
    ::mkdir("d", 0755);
    const auto set = [&](const char* what, timespec a, timespec m) {
        const timespec when[2] = {a, m};
        t.ret(what, ::utimensat(AT_FDCWD, "f", when, 0));
        t.stat_times(what, "f");
    };
    set("nanoseconds", {1000000001, 123456789}, {1000000002, 987654321});
    set("the last nanosecond", {1, 999999999}, {2, 1});
    set("the epoch", {0, 0}, {0, 0});
    set("before it", {-1, 500000000}, {-1000000, 1});
    set("after 2038", {2147483648LL, 1}, {4294967296LL, 2});
    set("after 2106", {8589934592LL, 3}, {9000000000LL, 4});
    set("omit atime", {0, UTIME_OMIT}, {55, 5});
    set("omit mtime", {66, 6}, {0, UTIME_OMIT});
    set("omit both", {0, UTIME_OMIT}, {0, UTIME_OMIT});
    set("bad nanoseconds", {1, 1000000000}, {1, 0});
    set("negative nanoseconds", {1, 0}, {1, -1});
    const timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
    const timespec mixed[2] = {{77, 7}, {0, UTIME_NOW}};
    t.times("UTIME_NOW", "f", [&] { ::utimensat(AT_FDCWD, "f", now, 0); });
    t.times("NULL", "f", [&] { ::utimensat(AT_FDCWD, "f", nullptr, 0); });
    t.times("mixed", "f", [&] { ::utimensat(AT_FDCWD, "f", mixed, 0); });
    const timespec when[2] = {{10, 1}, {20, 2}};
    t.ret("directory", ::utimensat(AT_FDCWD, "d", when, 0));
    t.stat_times("directory", "d");
    const int fd = ::open("f", O_RDWR | O_CLOEXEC);
    t.ret("write", ::write(fd, "dirty", 5));
    t.ret("futimens over a dirty file", ::futimens(fd, when));
    t.stat_times("at once", "f");
    ::close(fd);
    t.stat_times("after close", "f");
    pause_ms(50);
    const int again = ::open("f", O_RDWR | O_CLOEXEC);
    t.ret("fsync", ::fsync(again));
    t.stat_times("after fsync", "f");
    // tar and cp -p: write, close, set times by name, and they have to stay.
    put(t, "g", pattern(20000, 1));
    t.ret("by name after close", ::utimensat(AT_FDCWD, "g", when, 0));
    const int g = ::open("g", O_RDONLY | O_CLOEXEC);
    t.ret("fsync", ::fsync(g));
    t.stat_times("still", "g");
});

const Register times_of("times.changes", [](const Trace& t) {
    put(t, "f", pattern(5000, 1));
    ::mkdir("d", 0755);
    const int fd = ::open("f", O_RDWR | O_CLOEXEC);
    t.times("write", "f", [&] { t.ret("write", ::pwrite(fd, "x", 1, 3)); });
    t.times("write past the end", "f", [&] { t.ret("write", ::pwrite(fd, "x", 1, 9000)); });
    t.times("write of nothing", "f", [&] { t.ret("write", ::pwrite(fd, "x", 0, 3)); });
    t.times("fsync", "f", [&] { ::fsync(fd); });
    t.times("ftruncate down", "f", [&] { t.ret("ftruncate", ::ftruncate(fd, 100)); });
    t.times("ftruncate to the same", "f", [&] { t.ret("ftruncate", ::ftruncate(fd, 100)); });
    t.times("ftruncate up", "f", [&] { t.ret("ftruncate", ::ftruncate(fd, 200)); });
    t.times("truncate to the same", "f", [&] { t.ret("truncate", ::truncate("f", 200)); });
    t.times("truncate", "f", [&] { t.ret("truncate", ::truncate("f", 300)); });
    t.times("fallocate", "f", [&] { t.ret("fallocate", ::fallocate(fd, 0, 0, 400)); });
    t.times("chmod", "f", [] { ::chmod("f", 0600); });
    t.times("chmod to the same", "f", [] { ::chmod("f", 0600); });
    t.times("chown", "f", [] { (void)!::chown("f", ::getuid(), ::getgid()); });
    t.times("chown of nothing", "f", [] { (void)!::chown("f", -1, -1); });
    t.times("link", "f", [] { (void)!::link("f", "g"); });
    t.times("unlink of the other name", "f", [] { ::unlink("g"); });
    t.times("rename", "f", [] {
        ::rename("f", "f2");
        ::rename("f2", "f");
    });
    t.times("setxattr", "f", [] { ::setxattr("f", "user.x", "1", 1, 0); });
    t.times("removexattr", "f", [] { ::removexattr("f", "user.x"); });
    t.times("open and close", "f", [] { ::close(::open("f", O_RDWR | O_CLOEXEC)); });
    void* map = ::mmap(nullptr, 200, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    t.times("store through a mapping and msync", "f", [&] {
        static_cast<char*>(map)[7] = 'm';
        t.ret("msync", ::msync(map, 200, MS_SYNC));
    });
    ::munmap(map, 200);
    t.times("parent: create", "d", [&] { put(t, "d/f", ""); });
    t.times("parent: write to the file", "d", [&] { put(t, "d/f", "x"); });
    t.times("parent: chmod of the file", "d", [] { ::chmod("d/f", 0600); });
    t.times("parent: link", "d", [] { (void)!::link("d/f", "d/g"); });
    t.times("parent: rename inside", "d", [] { ::rename("d/g", "d/h"); });
    t.times("parent: rename out", "d", [] { ::rename("d/h", "out"); });
    t.times("parent: failed rename", "d", [] { ::rename("d/no", "out"); });
    t.times("parent: mkdir", "d", [] { ::mkdir("d/s", 0755); });
    t.times("parent: symlink", "d", [] { (void)!::symlink("x", "d/l"); });
    t.times("parent: mkfifo", "d", [] { ::mkfifo("d/p", 0644); });
    t.times("parent: create in a subdirectory", "d", [&] { put(t, "d/s/f", ""); });
    t.times("parent: unlink", "d", [] { ::unlink("d/f"); });
    t.times("parent: failed rmdir", "d", [] { ::rmdir("d/s"); });
    t.times("parent: rmdir", "d", [] {
        ::unlink("d/s/f");
        ::rmdir("d/s");
    });
    ::mkdir("e", 0755);
    ::mkdir("moved", 0755);
    t.times("a moved directory itself", "moved", [] {
        ::rename("moved", "e/moved");
        ::rename("e/moved", "moved");
    });
    t.times("target parent of a move", "e", [] { ::rename("out", "e/out"); });
});

const Register times_read("times.read", [](const Trace& t) {
    put(t, "f", pattern(5000, 1));
    ::mkdir("d", 0755);
    (void)!::symlink("f", "l");
    t.times("read", "f", [] { (void)get("f"); });
    t.times("readdir", "d", [&] { t.list("d", "d"); });
    t.times("readlink", "l", [] {
        char b[8];
        (void)!::readlink("l", b, 8);
    });
    t.times("stat", "f", [] {
        struct stat st {};
        (void)!::stat("f", &st);
    });
});

const Register fine_clock("times.granularity", [](const Trace& t) {
    // Two writes 50 ms apart get different times, with nanoseconds in them.
    struct stat one {};
    struct stat two {};
    put(t, "f", "1");
    (void)!::stat("f", &one);
    pause_ms(50);
    put(t, "f", "2");
    (void)!::stat("f", &two);
    t.check("finer than a second", one.st_mtim.tv_nsec != two.st_mtim.tv_nsec);
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    t.check("near the clock",
            two.st_mtim.tv_sec >= now.tv_sec - 2 && two.st_mtim.tv_sec <= now.tv_sec + 1);
});

const Register after_each("attr.getattr_after_each_change", [](const Trace& t) {
    const int fd = ::open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    const auto both = [&](const char* what) {
        t.fstat(what, fd);
        t.stat(what, "f");
        struct stat st {};
        (void)!::stat("f", &st);
        t.check("st_blksize is sane", st.st_blksize >= 512 && st.st_blksize <= 1 << 24);
    };
    both("created");
    for (const off_t at : {0, 1, 4095, 4096, 4097, 8192, 100000}) {
        t.ret("write", ::pwrite(fd, "ab", 2, at));
        both("written");
    }
    for (const off_t size : {99999, 8193, 8192, 8191, 4097, 4096, 4095, 64, 63, 1, 0, 5, 70000}) {
        t.ret("ftruncate", ::ftruncate(fd, size));
        both("truncated");
    }
    const std::string data = pattern(300000, 5);
    t.ret("write", ::pwrite(fd, data.data(), data.size(), 0));
    t.ret("fsync", ::fsync(fd));
    struct stat st {};
    (void)!::fstat(fd, &st);
    t.check("st_blocks of 300,000 written bytes",
            st.st_blocks * 512 >= 290000 && st.st_blocks * 512 <= 400000);
    t.ret("ftruncate", ::ftruncate(fd, off_t{1} << 34));
    (void)!::fstat(fd, &st);
    t.check("a hole takes no blocks", st.st_blocks * 512 <= 500000);
});

const Register statfs_case("attr.statfs", [](const Trace& t) {
    struct statvfs vfs {};
    t.ret("statvfs", ::statvfs(".", &vfs));
    t.ret("longest name", static_cast<long>(vfs.f_namemax));
    t.check("block size", vfs.f_bsize >= 512 && vfs.f_frsize >= 512);
    t.check("free is not more than all",
            vfs.f_bfree <= vfs.f_blocks && vfs.f_bavail <= vfs.f_bfree);
    t.check("inodes", vfs.f_ffree <= vfs.f_files);
    put(t, "f", "x");
    t.ret("of a file", ::statvfs("f", &vfs));
    const int fd = ::open("f", O_RDONLY | O_CLOEXEC);
    t.ret("fstatvfs", ::fstatvfs(fd, &vfs));
    t.ret("of nothing", ::statvfs("no", &vfs));
    const auto before = vfs.f_bfree * vfs.f_frsize;
    put(t, "big", pattern(8 << 20, 1));
    const int big = ::open("big", O_RDONLY | O_CLOEXEC);
    t.ret("fsync", ::fsync(big));
    struct statvfs after {};
    t.ret("fstatvfs", ::fstatvfs(big, &after));
    const auto used =
        static_cast<long long>(before) - static_cast<long long>(after.f_bfree * after.f_frsize);
    t.check("8 MiB less are free", used > (7 << 20) && used < (64 << 20));
});

}  // namespace
}  // namespace extencfs::conformance
