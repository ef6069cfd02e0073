// SPDX-License-Identifier: Apache-2.0
// Contents: random operations against the same on the lower file system, truncation, mappings,
// deleted and renamed open files.
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <random>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

// As fsx does: the same random operations in both places, contents compared after each few.
void random_operations(const Trace& t, unsigned seed, long max_size, int count, bool with_map) {
    std::mt19937 random(seed);
    const auto below = [&](long n) {
        return static_cast<long>(random() % static_cast<unsigned long>(n));
    };
    int fd = ::open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    for (int i = 0; i < count; i++) {
        const long at = below(max_size);
        const long size = 1 + below(i % 7 == 0 ? max_size / 2 : 5000);
        switch (below(with_map ? 10 : 9)) {
            case 0:
            case 1:
            case 2: {
                const std::string data = pattern(size, random());
                t.ret(fmt::format("{}: write {} at {}", i, size, at),
                      ::pwrite(fd, data.data(), data.size(), at));
                break;
            }
            case 3: {
                std::string data(size, '\0');
                const long got = t.ret(fmt::format("{}: read {} at {}", i, size, at),
                                       ::pread(fd, data.data(), size, at));
                if (got > 0) t.bytes("data", std::string_view(data).substr(0, got));
                break;
            }
            case 4:
                t.ret(fmt::format("{}: truncate {}", i, at), ::ftruncate(fd, at));
                break;
            case 5: {
                // A short append, what log writers do.
                const std::string data = pattern(1 + below(300), random());
                const int log = ::open("f", O_WRONLY | O_APPEND | O_CLOEXEC);
                t.ret(fmt::format("{}: append {}", i, data.size()),
                      ::write(log, data.data(), data.size()));
                ::close(log);
                if (::lseek(fd, 0, SEEK_END) > 4 * max_size)
                    t.ret("cut", ::ftruncate(fd, max_size));
                break;
            }
            case 6:
                t.ret(fmt::format("{}: punch {} at {}", i, size, at),
                      ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, size));
                break;
            case 7:
                ::close(fd);
                fd = ::open("f", O_RDWR | O_CLOEXEC);
                break;
            case 8:
                t.ret(fmt::format("{}: fsync", i), ::fsync(fd));
                break;
            case 9: {
                struct stat st {};
                (void)!::fstat(fd, &st);
                if (st.st_size < 2) break;
                const long from = below(st.st_size - 1);
                const long bytes = 1 + below(std::min<long>(st.st_size - from, 5000));
                void* map = ::mmap(nullptr, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                if (map == MAP_FAILED) {
                    t.ret("mmap", -1);
                    break;
                }
                ::memset(static_cast<char*>(map) + from, 'a' + i % 26, bytes);
                ::munmap(map, st.st_size);
                t.print("{}: stored {} at {}", i, bytes, from);
                break;
            }
        }
        struct stat st {};
        (void)!::fstat(fd, &st);
        t.ret("size", st.st_size);
        if (i % 10 == 0) t.fd_content("whole", fd);
    }
    ::close(fd);
    t.content("in the end", "f");
    t.stat("in the end", "f");
}

const Register random_small("data.random_small",
                            [](const Trace& t) { random_operations(t, 1, 20000, 800, false); });
const Register random_map("data.random_with_mappings",
                          [](const Trace& t) { random_operations(t, 2, 60000, 800, true); });
const Register random_large("data.random_large",
                            [](const Trace& t) { random_operations(t, 3, 3000000, 200, true); });

const Register vectors("data.vectors", [](const Trace& t) {
    const int fd = ::open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    char a[] = "first", b[] = "second", c[] = "third";
    const iovec parts[3] = {{a, 5}, {b, 0}, {c, 5}};
    t.ret("writev", ::writev(fd, parts, 3));
    t.ret("pwritev", ::pwritev(fd, parts, 3, 4093));
    t.ret("pwritev2 dsync", ::pwritev2(fd, parts, 3, 9000, RWF_DSYNC));
    t.ret("pwritev2 append", ::pwritev2(fd, parts, 3, 0, RWF_APPEND));
    char x[7], y[100];
    const iovec into[2] = {{x, sizeof x}, {y, sizeof y}};
    t.ret("preadv", ::preadv(fd, into, 2, 0));
    t.bytes("x", std::string_view(x, 7));
    t.fd_content("all", fd);
    t.ret("seek end", ::lseek(fd, 0, SEEK_END));
    t.ret("seek back", ::lseek(fd, -5, SEEK_CUR));
    t.ret("seek before the start", ::lseek(fd, -50000, SEEK_CUR));
    t.ret("bad whence", ::lseek(fd, 0, 99));
    t.ret("fsync", ::fsync(fd));
    t.ret("fdatasync", ::fdatasync(fd));
    t.ret("syncfs", ::syncfs(fd));
    t.ret("sync_file_range",
          ::sync_file_range(fd, 0, 100, SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER));
    t.ret("fadvise", ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    t.ret("readahead", ::readahead(fd, 0, 100000));
    t.fd_content("after dropping pages", fd);
    const int dir = ::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    t.ret("fsync of a directory", ::fsync(dir));
    t.ret("fdatasync of a directory", ::fdatasync(dir));
});

const Register truncation("data.truncate", [](const Trace& t) {
    put(t, "f", pattern(20000, 1));
    // Bytes cut off never come back, however the file grows again.
    for (const off_t cut :
         {19999, 16385, 16384, 16383, 8200, 4097, 4096, 4095, 4000, 3999, 33, 32, 1, 0}) {
        t.ret(fmt::format("down to {}", cut), ::truncate("f", cut));
        t.content("down", "f");
        t.ret("up", ::truncate("f", 20000));
        t.content("zeros behind", "f");
        const int fd = ::open("f", O_WRONLY | O_CLOEXEC);
        t.ret("write behind the end", ::pwrite(fd, "tail", 4, 20100));
        ::close(fd);
        t.content("written", "f");
        put(t, "f", pattern(20000, static_cast<unsigned>(cut)));
    }
    t.ret("negative", ::truncate("f", -1));
    t.ret("directory", ::truncate(".", 0));
    t.ret("missing", ::truncate("no", 0));
    const int fd = ::open("f", O_RDWR | O_CLOEXEC);
    t.ret("down", ::ftruncate(fd, 5000));
    t.ret("append after", ::pwrite(fd, "xyz", 3, 5000));
    t.ret("down within what was just written", ::ftruncate(fd, 5001));
    t.ret("far write", ::pwrite(fd, "far", 3, 1000000));
    t.fd_content("all", fd);
});

sigjmp_buf bus_escape;
void on_bus(int) {
    siglongjmp(bus_escape, 1);
}

const Register mapping("data.mmap", [](const Trace& t) {
    put(t, "f", pattern(10000, 1));
    const int fd = ::open("f", O_RDWR | O_CLOEXEC);
    auto* map =
        static_cast<char*>(::mmap(nullptr, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    if (map == MAP_FAILED) {
        t.ret("mmap", -1);
        return;
    }
    t.bytes("seen", std::string_view(map, 10000));
    t.ret("write", ::pwrite(fd, "by write", 8, 5000));
    t.bytes("write is seen in the mapping", std::string_view(map + 4990, 100));
    ::memcpy(map + 6000, "by store", 8);
    char buffer[100];
    t.ret("read", ::pread(fd, buffer, 100, 5990));
    t.bytes("store is seen by read", std::string_view(buffer, 100));
    t.bytes("zeros behind the end in the last page", std::string_view(map + 10000, 2288));
    map[11000] = 'Z';  // behind the end: must never reach the file
    t.ret("msync", ::msync(map, 16384, MS_SYNC));
    t.ret("grow", ::ftruncate(fd, 14000));
    t.bytes("the new part is zeros", std::string_view(map + 12288, 1712));
    map[11000] = '\0';  // whether growth shows such a store is not specified
    map[13000] = 'g';
    t.ret("msync async", ::msync(map, 16384, MS_ASYNC));
    t.fd_content("all but byte 11000", ::dup(fd));
    t.ret("shrink", ::ftruncate(fd, 4097));
    ::signal(SIGBUS, on_bus);
    if (sigsetjmp(bus_escape, 1) == 0) {
        const volatile char c = map[8192];
        t.print("a page behind the end reads {}", static_cast<int>(c));
    } else {
        t.line("a page behind the end is SIGBUS");
    }
    t.bytes("what is left", std::string_view(map, 4097));
    t.child([&] { map[10] = 'c'; });
    t.print("a child's store: {}", map[10]);
    auto* secret =
        static_cast<char*>(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    secret[20] = '!';
    t.ret("read", ::pread(fd, buffer, 100, 0));
    t.bytes("a private store stays private", std::string_view(buffer, 100));
    ::munmap(secret, 4096);
    ::close(fd);
    map[30] = 'a';  // after close
    ::munmap(map, 16384);
    t.content("store after close", "f");
    const int ro = ::open("f", O_RDONLY | O_CLOEXEC);
    t.check("shared writable mapping of a read-only descriptor is refused",
            ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ro, 0) == MAP_FAILED &&
                errno == EACCES);
});

const Register map_deleted("data.mmap_of_deleted", [](const Trace& t) {
    put(t, "f", pattern(50000, 4));
    const int fd = ::open("f", O_RDWR | O_CLOEXEC);
    auto* map =
        static_cast<char*>(::mmap(nullptr, 50000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    ::close(fd);
    t.ret("unlink", ::unlink("f"));
    put(t, "f", "another file of that name");
    t.bytes("the mapping still holds the old", std::string_view(map, 50000));
    ::memset(map + 100, 'x', 40000);
    t.ret("msync", ::msync(map, 50000, MS_SYNC));
    t.bytes("and takes stores", std::string_view(map, 50000));
    ::munmap(map, 50000);
    t.content("the new file is untouched", "f");
});

const Register deleted("data.unlinked_open_file", [](const Trace& t) {
    put(t, "f", pattern(9000, 7));
    const int fd = ::open("f", O_RDWR | O_CLOEXEC);
    const int second = ::open("f", O_RDONLY | O_CLOEXEC);
    t.ret("unlink", ::unlink("f"));
    t.fstat("no links", fd);
    t.fd_content("still readable", fd);
    t.ret("write", ::pwrite(fd, "late", 4, 20000));
    t.fd_content("grown, by the other descriptor", second);
    t.ret("truncate", ::ftruncate(fd, 100));
    t.ret("fsync", ::fsync(fd));
    t.fstat("cut", second);
    t.stat("the name", "f");
    t.list("nothing is left behind", ".");
    put(t, "f", "new");
    t.fd_content("the old one", fd);
    t.content("the new one", "f");
    ::close(fd);
    t.fd_content("after the first close", second);
    ::close(second);
    t.ret("rmdir of the parent works", ::mkdir("d", 0755));
    put(t, "d/f", "x");
    const int inside = ::open("d/f", O_RDWR | O_CLOEXEC);
    t.ret("unlink", ::unlink("d/f"));
    t.ret("rmdir while a deleted file is open", ::rmdir("d"));
    t.ret("write to it", ::pwrite(inside, "still", 5, 0));
    t.fd_content("and read", inside);
});

const Register caches("data.many_open_unlinked", [](const Trace& t) {
    std::vector<int> fds;
    for (int i = 0; i < 300; i++) {
        put(t, "f", fmt::format("number {}", i));
        fds.push_back(::open("f", O_RDWR | O_CLOEXEC));
        ::unlink("f");
    }
    bool right = true;
    for (int i = 0; i < 300; i++) {
        char buffer[32] = {};
        const ssize_t got = ::pread(fds[i], buffer, sizeof buffer, 0);
        right = right && got > 0 && fmt::format("number {}", i) == buffer;
        right = right && ::pwrite(fds[i], "!", 1, 0) == 1;
    }
    t.check("300 deleted files keep apart", right);
    for (const int fd : fds) ::close(fd);
});

}  // namespace
}  // namespace extencfs::conformance
