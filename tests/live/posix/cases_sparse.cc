// SPDX-License-Identifier: Apache-2.0
// Holes, fallocate, huge files, and copying inside the kernel.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

// SEEK_DATA and SEEK_HOLE may be coarse, but not wrong: what they skip is zeros, they advance, and
// the end of the file is a hole.
void check_seek(const Trace& t, const char* what, int fd, long size) {
    std::string all(static_cast<std::size_t>(size), '\0');
    if (::pread(fd, all.data(), all.size(), 0) != size) {
        t.print("{}: short read", what);
        return;
    }
    bool right = true;
    long at = 0;
    int steps = 0;
    while (at < size && steps++ < 100000) {
        const long data = ::lseek(fd, at, SEEK_DATA);
        const long end_of_skip = data < 0 ? size : data;
        if (data < 0 && errno != ENXIO) right = false;
        for (long i = at; i < end_of_skip; i++) right = right && all[i] == '\0';
        if (data < 0) break;
        const long hole = ::lseek(fd, data, SEEK_HOLE);
        right = right && data >= at && hole > data && hole <= size;
        if (!right) break;
        at = hole;
    }
    t.check(fmt::format("{}: what SEEK_DATA skips is zeros", what), right);
    t.ret("SEEK_HOLE at the end", ::lseek(fd, size, SEEK_HOLE));
    t.ret("SEEK_DATA at the end", ::lseek(fd, size, SEEK_DATA));
    t.ret("SEEK_HOLE past the end", ::lseek(fd, size + 1, SEEK_HOLE));
    t.ret("SEEK_DATA negative", ::lseek(fd, -1, SEEK_DATA));
}

const Register seek("sparse.seek", [](const Trace& t) {
    const int fd = ::open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    check_seek(t, "empty", fd, 0);
    const std::string data = pattern(10000, 1);
    t.ret("data", ::pwrite(fd, data.data(), data.size(), 0));
    check_seek(t, "dense", fd, 10000);
    t.ret("far data", ::pwrite(fd, data.data(), data.size(), 1000000));
    check_seek(t, "with a hole", fd, 1010000);
    t.ret("fsync", ::fsync(fd));
    check_seek(t, "synced", fd, 1010000);
    const long hole = ::lseek(fd, 0, SEEK_HOLE);
    t.check("the hole is found", hole >= 10000 && hole <= 10000 + 65536);
    const long next = ::lseek(fd, hole, SEEK_DATA);
    t.check("and its end", next <= 1000000 && next >= 1000000 - 65536);
    t.ret("longer", ::ftruncate(fd, 2000000));
    check_seek(t, "hole at the end", fd, 2000000);
    struct stat st {};
    (void)!::fstat(fd, &st);
    t.check("holes take no room", st.st_blocks * 512 < 400000);
    t.fd_content("all", fd);
});

const Register fallocate_case("sparse.fallocate", [](const Trace& t) {
    const int fd = ::open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    const std::string data = pattern(100000, 2);
    const auto reset = [&] {
        (void)!::ftruncate(fd, 0);
        (void)!::pwrite(fd, data.data(), data.size(), 0);
    };
    t.ret("allocate an empty file", ::fallocate(fd, 0, 0, 50000));
    t.fd_content("zeros", fd);
    reset();
    t.ret("allocate inside", ::fallocate(fd, 0, 1000, 5000));
    t.fd_content("unchanged", fd);
    t.ret("allocate past the end", ::fallocate(fd, 0, 90000, 50000));
    t.fd_content("grown", fd);
    reset();
    t.ret("keep size", ::fallocate(fd, FALLOC_FL_KEEP_SIZE, 90000, 50000));
    t.fd_content("not grown", fd);
    constexpr int kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    for (const auto& [at, size] : std::initializer_list<std::pair<long, long>>{{0, 1},
                                                                               {100, 50},
                                                                               {4096, 4096},
                                                                               {4000, 200},
                                                                               {8192, 65536},
                                                                               {99999, 1},
                                                                               {90000, 50000},
                                                                               {200000, 10},
                                                                               {0, 100000}}) {
        reset();
        t.ret(fmt::format("punch {} at {}", size, at), ::fallocate(fd, kPunch, at, size));
        t.fd_content("punched", fd);
        check_seek(t, "punched", fd, 100000);
        t.ret("write into it", ::pwrite(fd, "again", 5, at + size / 2));
        t.fd_content("written", fd);
    }
    t.ret("punch without keep size", ::fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
    t.ret("length 0", ::fallocate(fd, 0, 0, 0));
    t.ret("negative", ::fallocate(fd, 0, -1, 10));
    t.ret("negative length", ::fallocate(fd, 0, 1, -10));
    const int ro = ::open("f", O_RDONLY | O_CLOEXEC);
    t.ret("read-only descriptor", ::fallocate(ro, 0, 0, 10));
    t.times("punch", "f", [&] { (void)!::fallocate(fd, kPunch, 0, 100); });
    t.ret("posix_fallocate", ::posix_fallocate(fd, 0, 200000));
    t.fd_content("all", fd);
});

// Modes that a file system may refuse: refused cleanly (nothing changed) or done right.
const Register fallocate_optional("sparse.fallocate_optional", [](const Trace& t) {
    const std::string data = pattern(131072, 3);
    const auto attempt = [&](const char* what, int mode, long at, long size,
                             const std::string& expected) {
        put(t, "f", data);
        const int fd = ::open("f", O_RDWR | O_CLOEXEC);
        const int result = ::fallocate(fd, mode, at, size);
        const bool refused = result < 0 && (errno == EOPNOTSUPP || errno == EINVAL);
        t.check(what, get("f") == (refused ? data : expected));
        ::close(fd);
    };
    std::string zeroed = data;
    zeroed.replace(5000, 20000, std::string(20000, '\0'));
    attempt("zero range", FALLOC_FL_ZERO_RANGE, 5000, 20000, zeroed);
    std::string grown = data;
    grown.resize(140000, '\0');
    grown.replace(120000, 20000, std::string(20000, '\0'));
    attempt("zero range past the end", FALLOC_FL_ZERO_RANGE, 120000, 20000, grown);
    attempt("zero range past the end, keep size", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
            120000, 20000, grown.substr(0, data.size()));
    std::string collapsed = data;
    attempt("collapse", FALLOC_FL_COLLAPSE_RANGE, 4096, 8192, collapsed.erase(4096, 8192));
    std::string inserted = data;
    attempt("insert", FALLOC_FL_INSERT_RANGE, 4096, 8192,
            inserted.insert(4096, std::string(8192, '\0')));
});

const Register huge("sparse.huge", [](const Trace& t) {
    const int fd = ::open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    constexpr off_t kTera = off_t{1} << 40;
    t.ret("1 TiB", ::ftruncate(fd, kTera));
    t.fstat("1 TiB", fd);
    t.ret("write at the end", ::pwrite(fd, "end", 3, kTera - 1));
    t.ret("write in the middle", ::pwrite(fd, "middle", 6, kTera / 2 + 4090));
    char buffer[16] = {};
    t.ret("read the end", ::pread(fd, buffer, 16, kTera - 1));
    t.bytes("end", std::string_view(buffer, 3));
    t.ret("read the middle", ::pread(fd, buffer, 16, kTera / 2 + 4088));
    t.bytes("middle", std::string_view(buffer, 16));
    t.ret("read a hole", ::pread(fd, buffer, 16, kTera / 3));
    t.bytes("hole", std::string_view(buffer, 16));
    const off_t data = ::lseek(fd, 0, SEEK_DATA);
    t.check("SEEK_DATA crosses half a TiB", data <= kTera / 2 + 4090 && data > kTera / 2 - 65536);
    t.ret("fsync", ::fsync(fd));
    t.fstat("all", fd);
    t.ret("down", ::ftruncate(fd, 4096));
    t.fd_content("zeros", fd);
    for (const off_t size :
         {off_t{1} << 31, (off_t{1} << 31) + 1, off_t{1} << 32, (off_t{1} << 32) + 5000}) {
        t.ret("truncate", ::ftruncate(fd, size));
        t.ret("write across", ::pwrite(fd, "across the edge", 15, size - 7));
        t.ret("read across", ::pread(fd, buffer, 15, size - 7));
        t.bytes("across", std::string_view(buffer, 15));
    }
    ::signal(SIGXFSZ, SIG_IGN);
    const off_t top = INT64_MAX;
    const int at_top = ::ftruncate(fd, top) < 0 ? errno : 0;
    t.check("a size beyond all limits is refused or kept",
            at_top == EFBIG || at_top == EINVAL || at_top == 0);
    t.check("a write at the last offset is refused",
            ::pwrite(fd, "x", 1, top) < 0 && (errno == EFBIG || errno == EINVAL));
});

const Register limit("sparse.rlimit_fsize", [](const Trace& t) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit_value{100000, 100000};
    t.ret("setrlimit", ::setrlimit(RLIMIT_FSIZE, &limit_value));
    const int fd = ::open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    const std::string data = pattern(8000, 1);
    t.ret("below the limit", ::pwrite(fd, data.data(), 8000, 90000));
    t.ret("across it", ::pwrite(fd, data.data(), 8000, 98000));
    t.ret("above it", ::pwrite(fd, data.data(), 8000, 100000));
    t.ret("truncate above it", ::ftruncate(fd, 100001));
    t.ret("fallocate above it", ::fallocate(fd, 0, 0, 100001));
    t.fstat("in the end", fd);
    t.fd_content("in the end", fd);
});

const Register copies("copy.copy_file_range", [](const Trace& t) {
    put(t, "a", pattern(300000, 1));
    const int a = ::open("a", O_RDWR | O_CLOEXEC);
    const int b = ::open("b", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    const auto copy = [&](int from, off_t in, int to, off_t out, std::size_t size) {
        long total = 0;
        long got = 0;
        while (size > 0 && (got = ::copy_file_range(from, &in, to, &out, size, 0)) > 0) {
            total += got;
            size -= static_cast<std::size_t>(got);
        }
        t.ret("copied", got < 0 ? got : total);
    };
    copy(a, 0, b, 0, 300000);
    t.fd_content("whole", b);
    copy(a, 12345, b, 4099, 70001);
    t.fd_content("unaligned", b);
    copy(a, 299990, b, 0, 5000);
    t.fd_content("past the end of the source", b);
    copy(a, 400000, b, 0, 10);
    copy(a, 0, b, 1000000, 10);
    t.fd_content("behind the end of the target", b);
    copy(a, 0, a, 200000, 50000);
    t.fd_content("within one file", a);
    t.ret("overlapping", ::copy_file_range(a, nullptr, a, nullptr, 100, 0));
    off_t in = 0, out = 50;
    t.ret("overlapping by offset", ::copy_file_range(a, &in, a, &out, 100, 0));
    t.ret("flags", ::copy_file_range(a, nullptr, b, nullptr, 100, 1));
    const int ro = ::open("b", O_RDONLY | O_CLOEXEC);
    t.ret("read-only target", ::copy_file_range(a, nullptr, ro, nullptr, 100, 0));
    const int dir = ::open(".", O_RDONLY | O_CLOEXEC);
    t.ret("from a directory", ::copy_file_range(dir, nullptr, b, nullptr, 100, 0));
    t.ret("written bytes not yet below are copied", ::pwrite(a, "fresh", 5, 0));
    copy(a, 0, b, 0, 5);
    t.fd_content("fresh", b);
});

const Register sends("copy.sendfile_and_splice", [](const Trace& t) {
    put(t, "a", pattern(200000, 1));
    const int a = ::open("a", O_RDONLY | O_CLOEXEC);
    const int b = ::open("b", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    off_t from = 100;
    long total = 0;
    for (long got; total < 150000 && (got = ::sendfile(b, a, &from, 150000 - total)) > 0;)
        total += got;
    t.ret("sendfile", total);
    t.fd_content("sent", b);
    int ends[2];
    (void)!::pipe(ends);
    long moved = 0;
    loff_t in = 777, out = 5000;
    while (moved < 100000) {
        const long got = ::splice(a, &in, ends[1], nullptr, 30000, 0);
        if (got <= 0) break;
        for (long left = got; left > 0;) {
            const long put_bytes = ::splice(ends[0], nullptr, b, &out, left, 0);
            if (put_bytes <= 0) {
                t.ret("splice out", put_bytes);
                return;
            }
            left -= put_bytes;
            moved += put_bytes;
        }
    }
    t.check("spliced 100,000 bytes or more", moved >= 100000);
    char buffer[5000];
    t.ret("read", ::pread(b, buffer, 5000, 50000));
    t.bytes("spliced", std::string_view(buffer, 5000));
    t.ret("unknown ioctl", ::ioctl(b, _IOR('X', 77, int), buffer));
    t.ret("unknown ioctl of a directory",
          ::ioctl(::open(".", O_RDONLY), _IOR('X', 77, int), buffer));
    t.ret("terminal ioctl", ::ioctl(b, TIOCGWINSZ, buffer));
    int waiting = 0;
    t.ret("FIONREAD", ::ioctl(b, FIONREAD, &waiting));
});

}  // namespace
}  // namespace extencfs::conformance
