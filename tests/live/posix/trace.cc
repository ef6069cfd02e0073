// SPDX-License-Identifier: Apache-2.0
#include "tests/live/posix/trace.h"

#include <dirent.h>
#include <grp.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>

namespace extencfs::conformance {

std::string errno_name(int value) {
    const char* name = strerrorname_np(value);
    return name ? name : fmt::format("errno {}", value);
}

std::string mode_text(mode_t mode) {
    char type = '?';
    switch (mode & S_IFMT) {
        case S_IFREG:
            type = '-';
            break;
        case S_IFDIR:
            type = 'd';
            break;
        case S_IFLNK:
            type = 'l';
            break;
        case S_IFIFO:
            type = 'p';
            break;
        case S_IFSOCK:
            type = 's';
            break;
        case S_IFCHR:
            type = 'c';
            break;
        case S_IFBLK:
            type = 'b';
            break;
    }
    return fmt::format("{}{:04o}", type, mode & 07777);
}

void Trace::line(std::string_view text) const {
    std::string whole(text);
    for (char& c : whole) {
        if (c == '\n') c = ' ';
    }
    whole += '\n';
    const char* at = whole.data();
    std::size_t left = whole.size();
    while (left > 0) {
        const ssize_t wrote = ::write(out_fd_, at, left);
        if (wrote < 0) {
            if (errno == EINTR) continue;
            _exit(3);
        }
        at += wrote;
        left -= static_cast<std::size_t>(wrote);
    }
}

long Trace::ret(std::string_view what, long result) const {
    const int saved = errno;
    print("{} = {}", what, result < 0 ? errno_name(saved) : std::to_string(result));
    errno = saved;
    return result;
}

int Trace::ok(std::string_view what, int result) const {
    const int saved = errno;
    print("{} = {}", what, result < 0 ? errno_name(saved) : "ok");
    errno = saved;
    return result;
}

bool Trace::check(std::string_view what, bool holds) const {
    print("check {}: {}", what, holds ? "holds" : "FAILS");
    return holds;
}

void Trace::stat_line(std::string_view what, int result, const struct stat& st) const {
    if (result < 0) {
        print("stat {} = {}", what, errno_name(errno));
        return;
    }
    std::string text = fmt::format("stat {} = {} links {} owner {}:{}", what, mode_text(st.st_mode),
                                   st.st_nlink, st.st_uid, st.st_gid);
    if (!S_ISDIR(st.st_mode)) text += fmt::format(" size {}", st.st_size);
    if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode)) {
        text += fmt::format(" device {}:{}", major(st.st_rdev), minor(st.st_rdev));
    }
    line(text);
}

void Trace::stat(std::string_view what, const std::string& path) const {
    struct stat st {};
    const int result = ::lstat(path.c_str(), &st);
    stat_line(what, result, st);
}

void Trace::fstat(std::string_view what, int fd) const {
    struct stat st {};
    const int result = ::fstat(fd, &st);
    stat_line(what, result, st);
}

void Trace::stat_times(std::string_view what, const std::string& path) const {
    struct stat st {};
    if (::lstat(path.c_str(), &st) < 0) {
        print("times of {} = {}", what, errno_name(errno));
        return;
    }
    print("times of {} = atime {}.{:09} mtime {}.{:09}", what, st.st_atim.tv_sec,
          st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

void Trace::times(std::string_view what, const std::string& path,
                  const std::function<void()>& act) const {
    struct stat before {};
    struct stat after {};
    if (::lstat(path.c_str(), &before) < 0) {
        print("times {}: setup failed: {}", what, errno_name(errno));
        return;
    }
    pause_ms(25);  // the kernel's coarse clock ticks every 1 to 10 ms
    act();
    if (::lstat(path.c_str(), &after) < 0) {
        print("times {} = {}", what, errno_name(errno));
        return;
    }
    const auto moved = [](const timespec& a, const timespec& b) {
        if (a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec) return '=';
        return std::pair(a.tv_sec, a.tv_nsec) < std::pair(b.tv_sec, b.tv_nsec) ? '+' : '-';
    };
    print("times {} = atime{} mtime{} ctime{}", what, moved(before.st_atim, after.st_atim),
          moved(before.st_mtim, after.st_mtim), moved(before.st_ctim, after.st_ctim));
}

void Trace::bytes(std::string_view what, std::string_view data) const {
    print("{} = {} bytes, hash {:016x}", what, data.size(), hash_of(data));
}

void Trace::fd_content(std::string_view what, int fd) const {
    std::string all;
    std::vector<char> buffer(65536);
    for (;;) {
        const ssize_t got =
            ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(all.size()));
        if (got < 0) {
            print("read {} at {} = {}", what, all.size(), errno_name(errno));
            return;
        }
        if (got == 0) break;
        all.append(buffer.data(), static_cast<std::size_t>(got));
    }
    bytes(what, all);
}

void Trace::content(std::string_view what, const std::string& path) const {
    // O_NONBLOCK: a fifo would wait for its writer.
    const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        print("open {} = {}", what, errno_name(errno));
        return;
    }
    fd_content(what, fd);
    ::close(fd);
}

void Trace::list(std::string_view what, const std::string& path) const {
    DIR* dir = ::opendir(path.c_str());
    if (!dir) {
        print("list {} = {}", what, errno_name(errno));
        return;
    }
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(dir)) {
        // DT_UNKNOWN is allowed; lstat then says what it is.
        unsigned type = entry->d_type;
        struct stat st {};
        if (type == DT_UNKNOWN &&
            ::fstatat(::dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            type = IFTODT(st.st_mode);
        }
        names.push_back(fmt::format("{}:{}", entry->d_name, type));
    }
    const int failure = errno;
    ::closedir(dir);
    std::sort(names.begin(), names.end());
    print("list {} = {} [{}]{}", what, names.size(), fmt::join(names, " "),
          failure ? " " + errno_name(failure) : "");
}

int Trace::child(const std::function<void()>& act) const {
    const pid_t pid = ::fork();
    if (pid < 0) {
        print("fork = {}", errno_name(errno));
        return -1;
    }
    if (pid == 0) {
        act();
        _exit(0);
    }
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFSIGNALED(status)) print("child ended by signal {}", WTERMSIG(status));
    return status;
}

void Trace::as(uid_t uid, gid_t gid, const std::vector<gid_t>& groups,
               const std::function<void()>& act) const {
    child([&] {
        if (::setgroups(groups.size(), groups.data()) < 0 || ::setresgid(gid, gid, gid) < 0 ||
            ::setresuid(uid, uid, uid) < 0) {
            print("setup failed: become uid {}: {}", uid, errno_name(errno));
            return;
        }
        act();
    });
}

void put(const Trace& t, const std::string& path, std::string_view data, mode_t mode) {
    const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, mode);
    if (fd < 0) {
        t.print("setup failed: create {}: {}", path, errno_name(errno));
        return;
    }
    std::size_t done = 0;
    while (done < data.size()) {
        const ssize_t wrote = ::write(fd, data.data() + done, data.size() - done);
        if (wrote < 0) {
            t.print("setup failed: write {}: {}", path, errno_name(errno));
            break;
        }
        done += static_cast<std::size_t>(wrote);
    }
    if (::close(fd) < 0) t.print("setup failed: close {}: {}", path, errno_name(errno));
}

std::string get(const std::string& path) {
    std::string all;
    const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return all;
    char buffer[4096];
    ssize_t got;
    while ((got = ::read(fd, buffer, sizeof buffer)) > 0) {
        all.append(buffer, static_cast<std::size_t>(got));
    }
    ::close(fd);
    return all;
}

std::string pattern(std::size_t size, unsigned seed) {
    std::string data(size, '\0');
    std::uint64_t state = 0x9e3779b97f4a7c15ull * (seed + 1);
    for (char& c : data) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        c = static_cast<char>(state >> 32);
    }
    return data;
}

std::uint64_t hash_of(std::string_view data) {
    std::uint64_t hash = 0xcbf29ce484222325ull;
    for (const char c : data) {
        hash ^= static_cast<unsigned char>(c);
        hash *= 0x100000001b3ull;
    }
    return hash;
}

void pause_ms(int ms) {
    timespec left{ms / 1000, (ms % 1000) * 1000000L};
    while (::nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

std::vector<Case>& all_cases() {
    static std::vector<Case> cases;
    return cases;
}

}  // namespace extencfs::conformance
