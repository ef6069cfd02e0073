// SPDX-License-Identifier: Apache-2.0
// Several processes at once: locks, appends, overlapping writes, descriptors sent to another.
#include <errno.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <map>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

const Register flock_case("lock.flock", [](const Trace& t) {
    put(t, "f", "x");
    const int a = ::open("f", O_RDWR | O_CLOEXEC);
    const int b = ::open("f", O_RDONLY | O_CLOEXEC);
    t.ret("shared", ::flock(a, LOCK_SH | LOCK_NB));
    t.ret("shared by another", ::flock(b, LOCK_SH | LOCK_NB));
    t.ret("exclusive while shared", ::flock(a, LOCK_EX | LOCK_NB));
    t.ret("unlock", ::flock(b, LOCK_UN));
    t.ret("exclusive", ::flock(a, LOCK_EX | LOCK_NB));
    t.ret("shared while exclusive", ::flock(b, LOCK_SH | LOCK_NB));
    t.child([&] {
        const int c = ::open("f", O_RDWR | O_CLOEXEC);
        t.ret("in another process", ::flock(c, LOCK_EX | LOCK_NB));
        t.ret("inherited descriptor", ::flock(a, LOCK_EX | LOCK_NB));
    });
    t.ret("rename keeps it", ::rename("f", "g"));
    const int d = ::open("g", O_RDWR | O_CLOEXEC);
    t.ret("by the new name", ::flock(d, LOCK_EX | LOCK_NB));
    ::close(a);
    t.ret("after close", ::flock(d, LOCK_EX | LOCK_NB));
    const int dir = ::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    t.ret("a directory", ::flock(dir, LOCK_EX | LOCK_NB));
    // Blocking: the waiter gets it when the holder lets go.
    const pid_t pid = ::fork();
    if (pid == 0) {
        ::close(d);  // an inherited copy would hold the lock itself
        const int e = ::open("g", O_RDWR | O_CLOEXEC);
        _exit(::flock(e, LOCK_EX) == 0 ? 0 : 1);
    }
    pause_ms(100);
    t.ret("still waiting", ::waitpid(pid, nullptr, WNOHANG));
    ::close(d);
    int status = 0;
    ::waitpid(pid, &status, 0);
    t.print("waiter got it: {}", WEXITSTATUS(status) == 0);
});

struct flock range(short type, off_t from, off_t size) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = from;
    lock.l_len = size;
    return lock;
}

const Register fcntl_case("lock.fcntl", [](const Trace& t) {
    put(t, "f", std::string(1000, 'x'));
    const int fd = ::open("f", O_RDWR | O_CLOEXEC);
    struct flock lock = range(F_WRLCK, 100, 100);
    t.ret("write lock", ::fcntl(fd, F_SETLK, &lock));
    lock = range(F_RDLCK, 500, 0);
    t.ret("read lock to the end", ::fcntl(fd, F_SETLK, &lock));
    t.child([&] {
        const int other = ::open("f", O_RDWR | O_CLOEXEC);
        for (const auto& [type, from, size] :
             std::initializer_list<std::tuple<short, off_t, off_t>>{{F_RDLCK, 0, 100},
                                                                    {F_WRLCK, 150, 10},
                                                                    {F_RDLCK, 199, 1},
                                                                    {F_WRLCK, 200, 300},
                                                                    {F_RDLCK, 600, 10},
                                                                    {F_WRLCK, 600, 10},
                                                                    {F_WRLCK, 100000, 1}}) {
            struct flock wanted = range(type, from, size);
            struct flock probe = wanted;
            t.ret("get", ::fcntl(other, F_GETLK, &probe));
            t.print("type {} {}+{}", probe.l_type, probe.l_start, probe.l_len);
            t.ret("set", ::fcntl(other, F_SETLK, &wanted));
        }
    });
    lock = range(F_UNLCK, 120, 10);
    t.ret("unlock the middle", ::fcntl(fd, F_SETLK, &lock));
    t.child([&] {
        const int other = ::open("f", O_RDWR | O_CLOEXEC);
        struct flock wanted = range(F_WRLCK, 120, 10);
        t.ret("the middle is free", ::fcntl(other, F_SETLK, &wanted));
        wanted = range(F_WRLCK, 119, 1);
        t.ret("the rest is not", ::fcntl(other, F_SETLK, &wanted));
    });
    ::close(::open("f", O_RDONLY | O_CLOEXEC));  // POSIX: any close drops the process's locks
    t.child([&] {
        const int other = ::open("f", O_RDWR | O_CLOEXEC);
        struct flock wanted = range(F_WRLCK, 0, 0);
        t.ret("all free after a close", ::fcntl(other, F_SETLK, &wanted));
    });
    struct flock own = range(F_WRLCK, 0, 10);
    const int second = ::open("f", O_RDWR | O_CLOEXEC);
    t.ret("open file description lock", ::fcntl(fd, F_OFD_SETLK, &own));
    own = range(F_WRLCK, 5, 1);
    t.ret("conflicts inside one process", ::fcntl(second, F_OFD_SETLK, &own));
    const int ro = ::open("f", O_RDONLY | O_CLOEXEC);
    own = range(F_WRLCK, 50, 1);
    t.ret("write lock on a read-only descriptor", ::fcntl(ro, F_SETLK, &own));
});

const Register appenders("shared.append_by_two", [](const Trace& t) {
    constexpr int kRecords = 500;
    constexpr std::size_t kSize = 100;
    put(t, "log", "");
    std::vector<pid_t> pids;
    for (int who = 0; who < 3; who++) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            const int fd = ::open("log", O_WRONLY | O_APPEND | O_CLOEXEC);
            for (int i = 0; i < kRecords; i++) {
                std::string record = fmt::format("{}:{:06}:", who, i);
                record.resize(kSize, static_cast<char>('a' + who));
                if (::write(fd, record.data(), kSize) != static_cast<ssize_t>(kSize)) _exit(1);
            }
            _exit(0);
        }
        pids.push_back(pid);
    }
    bool fine = true;
    for (const pid_t pid : pids) {
        int status = 0;
        ::waitpid(pid, &status, 0);
        fine = fine && status == 0;
    }
    t.check("all wrote", fine);
    const std::string all = get("log");
    t.ret("size", static_cast<long>(all.size()));
    std::map<char, int> next;
    bool whole = all.size() == 3 * kRecords * kSize;
    for (std::size_t at = 0; whole && at < all.size(); at += kSize) {
        const char who = all[at];
        std::string record = fmt::format("{}:{:06}:", who, next[who]++);
        record.resize(kSize, static_cast<char>('a' + (who - '0')));
        whole = all.compare(at, kSize, record) == 0;
    }
    t.check("no record lost, torn or out of order", whole);
});

const Register writers("shared.overlapping_writes", [](const Trace& t) {
    constexpr long kSize = 200000;
    put(t, "f", std::string(kSize, '-'));
    std::vector<pid_t> pids;
    for (int who = 0; who < 2; who++) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            const int fd = ::open("f", O_RDWR | O_CLOEXEC);
            const std::string data(9000, static_cast<char>('A' + who));
            for (int i = 0; i < 300; i++) {
                const long at = (i * 7919L + who * 3001L) % (kSize - 9000);
                if (::pwrite(fd, data.data(), data.size(), at) != 9000) _exit(1);
                char back[64];
                if (::pread(fd, back, 64, at + 100) != 64) _exit(2);
                for (const char c : back) {
                    if (c != 'A' && c != 'B') _exit(3);
                }
            }
            _exit(0);
        }
        pids.push_back(pid);
    }
    for (const pid_t pid : pids) {
        int status = 0;
        ::waitpid(pid, &status, 0);
        t.print("writer ended with {}", status);
    }
    const std::string all = get("f");
    t.ret("size", static_cast<long>(all.size()));
    t.check("only bytes that were written", all.find_first_not_of("AB-") == std::string::npos);
    // Neighbours in one block: each its own half, nobody's half lost.
    put(t, "g", std::string(4096, '.'));
    for (int round = 0; round < 50; round++) {
        std::vector<pid_t> pair;
        for (int who = 0; who < 2; who++) {
            const pid_t pid = ::fork();
            if (pid == 0) {
                const int fd = ::open("g", O_RDWR | O_CLOEXEC);
                const std::string data(2048, static_cast<char>('a' + (round + who) % 26));
                _exit(::pwrite(fd, data.data(), 2048, who * 2048) == 2048 && ::fsync(fd) == 0 ? 0
                                                                                              : 1);
            }
            pair.push_back(pid);
        }
        for (const pid_t pid : pair) ::waitpid(pid, nullptr, 0);
        const std::string expected = std::string(2048, static_cast<char>('a' + round % 26)) +
                                     std::string(2048, static_cast<char>('a' + (round + 1) % 26));
        if (get("g") != expected) t.check("neighbours keep apart", false);
    }
});

const Register passing("shared.descriptor_passing", [](const Trace& t) {
    int pair[2];
    (void)!::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair);
    t.child([&] {
        put(t, "f", "from the child");
        const int fd = ::open("f", O_RDWR | O_CLOEXEC);
        ::unlink("f");
        char byte = 'x';
        iovec data{&byte, 1};
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        msghdr message{};
        message.msg_iov = &data;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        ::memcpy(CMSG_DATA(header), &fd, sizeof fd);
        t.ret("send", ::sendmsg(pair[0], &message, 0));
    });
    char byte;
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    t.ret("receive", ::recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC));
    int fd = -1;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message))
        ::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    t.fd_content("the sender is gone, the file has no name", fd);
    t.ret("write", ::pwrite(fd, " and more", 9, 14));
    t.fd_content("all", fd);
});

const Register positions("shared.offset_across_fork", [](const Trace& t) {
    const int fd = ::open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    t.ret("write", ::write(fd, "parent ", 7));
    t.child([&] { t.ret("write", ::write(fd, "child ", 6)); });
    t.ret("position", ::lseek(fd, 0, SEEK_CUR));
    t.ret("write", ::write(fd, "parent", 6));
    t.fd_content("all", fd);
    const int copy = ::dup(fd);
    ::close(fd);
    t.ret("write to a dup", ::write(copy, "!", 1));
    t.fd_content("all", copy);
});

const Register creators("shared.exclusive_create_race", [](const Trace& t) {
    int winners = 0;
    for (int round = 0; round < 30; round++) {
        std::vector<pid_t> pids;
        const std::string name = fmt::format("f{}", round);
        for (int who = 0; who < 4; who++) {
            const pid_t pid = ::fork();
            if (pid == 0) {
                const int fd = ::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
                _exit(fd >= 0 ? 1 : errno == EEXIST ? 0 : 2);
            }
            pids.push_back(pid);
        }
        for (const pid_t pid : pids) {
            int status = 0;
            ::waitpid(pid, &status, 0);
            if (WEXITSTATUS(status) == 2) t.line("another error than EEXIST");
            winners += WEXITSTATUS(status) == 1;
        }
    }
    t.ret("winners of 30 races", winners);
});

const Register storm("shared.rename_storm", [](const Trace& t) {
    // A reader never finds the name missing while two writers replace it over and over.
    put(t, "target", "00000000");
    std::vector<pid_t> pids;
    for (int who = 0; who < 2; who++) {
        const pid_t pid = ::fork();
        if (pid == 0) {
            const std::string mine = fmt::format("tmp{}", who);
            for (int i = 0; i < 300; i++) {
                put(t, mine, fmt::format("{:08}", i));
                if (::rename(mine.c_str(), "target") < 0) _exit(1);
            }
            _exit(0);
        }
        pids.push_back(pid);
    }
    bool always = true;
    for (int i = 0; i < 2000; i++) {
        const std::string seen = get("target");
        if (seen.size() != 8) always = false;
    }
    t.check("there and whole at every moment", always);
    for (const pid_t pid : pids) {
        int status = 0;
        ::waitpid(pid, &status, 0);
        t.print("writer ended with {}", status);
    }
    t.list("in the end", ".");
});

}  // namespace
}  // namespace extencfs::conformance
