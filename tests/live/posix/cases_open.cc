// SPDX-License-Identifier: Apache-2.0
// open(2): every flag against every kind of target, modes and umask, append, O_TMPFILE, O_DIRECT.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <memory>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

struct Flag {
    int value;
    const char* name;
};
constexpr Flag kFlags[] = {
    {O_RDONLY, "r"},
    {O_WRONLY, "w"},
    {O_RDWR, "rw"},
    {O_RDWR | O_CREAT, "creat"},
    {O_RDWR | O_CREAT | O_EXCL, "creat excl"},
    {O_WRONLY | O_TRUNC, "trunc"},
    {O_RDONLY | O_TRUNC, "r trunc"},
    {O_WRONLY | O_APPEND, "append"},
    {O_RDONLY | O_DIRECTORY, "directory"},
    {O_RDONLY | O_NOFOLLOW, "nofollow"},
    {O_RDONLY | O_DIRECTORY | O_NOFOLLOW, "directory nofollow"},
    {O_RDWR | O_CREAT | O_NOFOLLOW, "creat nofollow"},
    {O_PATH, "path"},
    {O_PATH | O_NOFOLLOW, "path nofollow"},
    {O_RDWR | O_CREAT | O_TRUNC, "creat trunc"},
    {O_RDONLY | O_NOATIME, "noatime"},
    {O_RDONLY | O_SYNC, "sync"},
};

const Register matrix("open.matrix", [](const Trace& t) {
    for (const Flag& flag : kFlags) {
        for (const char* target :
             {"missing", "file", "dir", "to_file", "to_dir", "dangling", "loop", "fifo", "file/",
              "dir/", "missing/", "file/below", "dir/below", "no/where", ".", "dir/..", ""}) {
            ::unlink("missing");
            ::unlink("dir/below");
            put(t, "file", "some text");
            ::mkdir("dir", 0755);
            (void)!::symlink("file", "to_file");
            (void)!::symlink("dir", "to_dir");
            ::unlink("nowhere");
            (void)!::symlink("nowhere", "dangling");
            (void)!::symlink("loop", "loop");
            ::mkfifo("fifo", 0644);
            const std::string what = fmt::format("open {} ({})", target, flag.name);
            const int fd = t.ok(what, ::open(target, flag.value | O_CLOEXEC | O_NONBLOCK, 0640));
            if (fd < 0) continue;
            t.fstat(what, fd);
            ::close(fd);
            t.stat(what + " afterwards", target);
        }
    }
    t.list("all", ".");
});

const Register modes("open.modes_and_umask", [](const Trace& t) {
    for (const mode_t mask : {0, 022, 027, 077, 0777}) {
        ::umask(mask);
        for (const mode_t mode : {0, 0400, 0200, 0644, 0666, 0777, 04755, 02755, 01777, 07777}) {
            const int fd = t.ok(fmt::format("create {:o} umask {:o}", mode, mask),
                                ::open("f", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode));
            t.stat("file", "f");
            // The descriptor is read-write whatever the mode says.
            t.ret("write", ::write(fd, "abc", 3));
            char back[4] = {};
            t.ret("read", ::pread(fd, back, 3, 0));
            t.bytes("back", back);
            ::close(fd);
            ::unlink("f");
            t.ret("mkdir", ::mkdir("d", mode));
            t.stat("dir", "d");
            ::rmdir("d");
            t.ret("mkfifo", ::mkfifo("p", mode));
            t.stat("fifo", "p");
            ::unlink("p");
        }
    }
});

const Register access_modes("open.access_mode", [](const Trace& t) {
    put(t, "f", "0123456789");
    char buffer[16];
    const int r = ::open("f", O_RDONLY | O_CLOEXEC);
    const int w = ::open("f", O_WRONLY | O_CLOEXEC);
    t.ret("write on read-only", ::write(r, "x", 1));
    t.ret("ftruncate on read-only", ::ftruncate(r, 0));
    t.ret("read on write-only", ::read(w, buffer, 1));
    t.ret("ftruncate on write-only", ::ftruncate(w, 5));
    t.ret("pread of 16", ::pread(r, buffer, 16, 0));
    t.ret("pread at end", ::pread(r, buffer, 16, 5));
    t.ret("pread past end", ::pread(r, buffer, 16, 500));
    t.ret("pread negative", ::pread(r, buffer, 16, -1));
    t.ret("read of 0", ::read(r, buffer, 0));
    t.ret("write of 0", ::pwrite(w, buffer, 0, 100));
    t.stat("after write of 0 past the end", "f");
    const int d = ::open(".", O_RDONLY | O_CLOEXEC);
    t.ret("read of a directory", ::read(d, buffer, 16));
    t.ret("open directory for writing", ::open(".", O_WRONLY));
    const int p = ::open("f", O_PATH | O_CLOEXEC);
    t.ret("read on O_PATH", ::read(p, buffer, 1));
    t.ret("fchmod on O_PATH", ::fchmod(p, 0600));
    t.fstat("O_PATH", p);
});

const Register trunc("open.trunc", [](const Trace& t) {
    put(t, "f", pattern(10000, 1));
    const int reader = ::open("f", O_RDONLY | O_CLOEXEC);
    t.times("O_TRUNC", "f", [] { ::close(::open("f", O_WRONLY | O_TRUNC | O_CLOEXEC)); });
    t.stat("after", "f");
    t.fd_content("seen by the other descriptor", reader);
    put(t, "f", pattern(5000, 2));
    t.fd_content("after a new write", reader);
    put(t, "empty", "");
    t.times("O_TRUNC of an empty file", "empty",
            [] { ::close(::open("empty", O_WRONLY | O_TRUNC | O_CLOEXEC)); });
    ::close(reader);
});

const Register append("open.append", [](const Trace& t) {
    put(t, "f", "start");
    const int a = ::open("f", O_WRONLY | O_APPEND | O_CLOEXEC);
    const int b = ::open("f", O_RDWR | O_CLOEXEC);
    t.ret("lseek 0", ::lseek(a, 0, SEEK_SET));
    t.ret("append", ::write(a, "-one", 4));
    t.ret("position", ::lseek(a, 0, SEEK_CUR));
    t.ret("pwrite at 0 appends on Linux", ::pwrite(a, "-two", 4, 0));
    t.ret("other writes past the end", ::pwrite(b, "-three", 6, 20));
    t.ret("append", ::write(a, "-four", 5));
    t.fd_content("all", b);
    t.ret("truncate below", ::ftruncate(b, 3));
    t.ret("append", ::write(a, "-five", 5));
    t.fd_content("all", b);
    t.ret("drop O_APPEND", ::fcntl(a, F_SETFL, 0));
    t.ret("pwrite at 0", ::pwrite(a, "ZZ", 2, 0));
    t.fd_content("all", b);
    t.ret("set O_APPEND", ::fcntl(b, F_SETFL, O_APPEND));
    t.ret("append", ::write(b, "-six", 4));
    t.fd_content("all", b);
});

const Register tmpfile_case(
    "open.tmpfile",
    [](const Trace& t) {
        const int fd = t.ok("O_TMPFILE", ::open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640));
        t.ok("on a missing directory", ::open("no", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640));
        put(t, "file", "x");
        t.ok("on a file", ::open("file", O_TMPFILE | O_RDWR | O_CLOEXEC, 0640));
        if (fd < 0) return;
        t.fstat("O_TMPFILE nameless", fd);
        t.ret("O_TMPFILE write", ::write(fd, "nameless", 8));
        const std::string proc = fmt::format("/proc/self/fd/{}", fd);
        t.ret("O_TMPFILE link",
              ::linkat(AT_FDCWD, proc.c_str(), AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
        t.stat("O_TMPFILE named", "named");
        t.content("O_TMPFILE named", "named");
        ::close(fd);
        const int excl = ::open(".", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0640);
        const std::string never = fmt::format("/proc/self/fd/{}", excl);
        t.ret("O_TMPFILE|O_EXCL link",
              ::linkat(AT_FDCWD, never.c_str(), AT_FDCWD, "never", AT_SYMLINK_FOLLOW));
        t.list("O_TMPFILE directory", ".");
    },
    Needs::kTmpfile);

struct Free {
    void operator()(void* p) const { ::free(p); }
};

const Register direct("open.direct", [](const Trace& t) {
    constexpr std::size_t kSize = 3 * 65536;
    void* raw = nullptr;
    if (::posix_memalign(&raw, 4096, kSize) != 0) return;
    const std::unique_ptr<char, Free> buffer(static_cast<char*>(raw));
    const int fd = ::open("f", O_CREAT | O_RDWR | O_DIRECT | O_CLOEXEC, 0644);
    if (fd < 0) {
        t.ok("open O_DIRECT", fd);
        return;
    }
    const std::string data = pattern(kSize, 3);
    ::memcpy(buffer.get(), data.data(), kSize);
    t.ret("aligned write", ::pwrite(fd, buffer.get(), kSize, 0));
    t.stat("after", "f");
    t.content("read through the cache", "f");
    const int cached = ::open("f", O_RDWR | O_CLOEXEC);
    t.ret("cached overwrite", ::pwrite(cached, "cached", 6, 8192 + 10));
    t.ret("aligned read", ::pread(fd, buffer.get(), 8192, 8192));
    t.bytes("sees the cached write", std::string_view(buffer.get(), 8192));
    ::memset(buffer.get(), 'D', 4096);
    t.ret("direct overwrite", ::pwrite(fd, buffer.get(), 4096, 4096));
    t.content("read through the cache", "f");
    t.ret("read at end", ::pread(fd, buffer.get(), 4096, kSize));
    t.ret("read across the end", ::pread(fd, buffer.get(), 8192, kSize - 4096));
    // Unaligned: EINVAL or done right, nothing between.
    const ssize_t got = ::pread(fd, buffer.get() + 1, 1000, 4096);
    t.check("unaligned read refused or right",
            got < 0 ? errno == EINVAL
                    : got == 1000 &&
                          std::string_view(buffer.get() + 1, 1000) == std::string(1000, 'D'));
    const std::string before = get("f");
    const ssize_t put_bytes = ::pwrite(fd, buffer.get() + 1, 100, 4096 + 7);
    t.check("unaligned write refused or right", put_bytes < 0
                                                    ? errno == EINVAL && get("f") == before
                                                    : put_bytes == 100 && get("f").size() == kSize);
    t.ret("switch O_DIRECT off", ::fcntl(fd, F_SETFL, 0));
    t.ret("unaligned read through the cache", ::pread(fd, buffer.get() + 1, 1000, 50000));
    ::close(fd);
    ::close(cached);
});

const Register openat_case("open.openat", [](const Trace& t) {
    ::mkdir("d", 0755);
    const int dir = ::open("d", O_PATH | O_DIRECTORY | O_CLOEXEC);
    const int fd = t.ok("openat", ::openat(dir, "f", O_CREAT | O_RDWR | O_CLOEXEC, 0600));
    t.ret("write", ::write(fd, "x", 1));
    t.ret("rename the directory", ::rename("d", "e"));
    t.ok("openat after rename", ::openat(dir, "f", O_RDONLY | O_CLOEXEC));
    t.ok("create after rename", ::openat(dir, "g", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0600));
    t.list("renamed", "e");
    t.ret("mkdirat", ::mkdirat(dir, "sub", 0700));
    t.ret("unlinkat", ::unlinkat(dir, "g", 0));
    t.ret("unlinkat directory without the flag", ::unlinkat(dir, "sub", 0));
    t.ret("unlinkat directory", ::unlinkat(dir, "sub", AT_REMOVEDIR));
    t.ret("faccessat", ::faccessat(dir, "f", R_OK, 0));
    t.list("in the end", "e");
});

}  // namespace
}  // namespace extencfs::conformance
