// SPDX-License-Identifier: Apache-2.0
// mkdir, rmdir, listing, listing while the directory changes, open directories that vanish, paths
// of PATH_MAX bytes.
#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <map>
#include <set>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

const Register errors("dir.errors", [](const Trace& t) {
    put(t, "file", "x");
    ::mkdir("full", 0755);
    put(t, "full/f", "x");
    (void)!::symlink("full", "to_full");
    (void)!::symlink("nowhere", "dangling");
    for (const char* name : {"file", "full", "to_full", "dangling", "no/d", "file/d", ".", "..", "",
                             "/", "new/", "dangling/"}) {
        t.ret(fmt::format("mkdir {}", name), ::mkdir(name, 0755));
    }
    for (const char* name : {"file", "full", "to_full", "dangling", "no", "file/d", ".", "..", "",
                             "full/.", "full/..", "new/", "full/f"}) {
        t.ret(fmt::format("rmdir {}", name), ::rmdir(name));
    }
    for (const char* name : {"full", "full/", ".", "..", "", "no", "file/", "file/x", "to_full/"}) {
        t.ret(fmt::format("unlink {}", name), ::unlink(name));
    }
    t.list("what is left", ".");
});

const Register links("dir.link_count", [](const Trace& t) {
    ::mkdir("d", 0755);
    t.stat("new", "d");
    for (int i = 0; i < 5; i++) {
        ::mkdir(fmt::format("d/{}", i).c_str(), 0755);
        t.stat(fmt::format("{} below", i + 1), "d");
    }
    put(t, "d/file", "x");
    t.stat("a file below", "d");
    ::mkdir("e", 0755);
    t.ret("move one out", ::rename("d/0", "e/0"));
    t.stat("from", "d");
    t.stat("to", "e");
    t.ret("rmdir", ::rmdir("d/1"));
    t.stat("after rmdir", "d");
    t.ret("replace one", ::rename("d/2", "d/3"));
    t.stat("after replacing", "d");
});

const Register listing("dir.list_types", [](const Trace& t) {
    put(t, "file", "x");
    ::mkdir("dir", 0755);
    (void)!::symlink("x", "link");
    ::mkfifo("fifo", 0644);
    t.ret("mknod socket", ::mknod("socket", S_IFSOCK | 0644, 0));
    put(t, std::string(255, 'n'), "long");
    put(t, ".hidden", "x");
    t.list("all kinds", ".");
    ::mkdir("empty", 0755);
    t.list("empty", "empty");
    t.list("a file", "file");
});

struct RawEntry {
    ino64_t ino;
    off64_t off;
    unsigned short size;
    unsigned char type;
    char name[];
};

const Register small_buffers("dir.getdents_sizes", [](const Trace& t) {
    std::set<std::string> expected{".", ".."};
    for (int i = 0; i < 60; i++) {
        const std::string name = fmt::format("{:02}{}", i, std::string(i * 4, 'x'));
        put(t, name, "");
        expected.insert(name);
    }
    for (const std::size_t size : {8u, 24u, 280u, 300u, 512u, 4096u, 65536u}) {
        const int fd = ::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        std::multiset<std::string> seen;
        std::vector<char> buffer(size);
        long got;
        while ((got = ::syscall(SYS_getdents64, fd, buffer.data(), size)) > 0) {
            for (long at = 0; at < got;) {
                const auto* entry = reinterpret_cast<const RawEntry*>(buffer.data() + at);
                seen.insert(entry->name);
                at += entry->size;
            }
        }
        t.ret(fmt::format("getdents with {} bytes, last", size), got);
        if (size >= 280) {
            t.check(fmt::format("{} bytes: each once", size),
                    seen == std::multiset<std::string>(expected.begin(), expected.end()));
        }
        ::close(fd);
    }
});

const Register positions("dir.telldir_seekdir", [](const Trace& t) {
    for (int i = 0; i < 700; i++) put(t, fmt::format("entry-{:04}", i), "");
    DIR* dir = ::opendir(".");
    std::vector<std::pair<long, std::string>> places;
    for (;;) {
        const long at = ::telldir(dir);
        const dirent* entry = ::readdir(dir);
        if (!entry) break;
        places.emplace_back(at, entry->d_name);
    }
    t.ret("entries", static_cast<long>(places.size()));
    bool right = true;
    for (std::size_t i = places.size(); i-- > 0;) {
        if (i % 37 != 0) continue;
        ::seekdir(dir, places[i].first);
        for (std::size_t k = i; k < std::min(i + 3, places.size()); k++) {
            const dirent* entry = ::readdir(dir);
            right = right && entry && places[k].second == entry->d_name;
        }
    }
    t.check("seekdir returns to each place", right);
    put(t, "late", "");
    ::unlink("entry-0000");
    ::rewinddir(dir);
    std::set<std::string> again;
    while (const dirent* entry = ::readdir(dir)) again.insert(entry->d_name);
    t.check("rewinddir sees what was created", again.contains("late"));
    t.check("rewinddir does not see what was removed", !again.contains("entry-0000"));
    t.ret("entries", static_cast<long>(again.size()));
    ::closedir(dir);
});

// POSIX: an entry that is there all the time is returned once and only once; what comes or goes
// during the listing may or may not be seen, but never twice.
const Register modified("dir.list_20000_while_modified", [](const Trace& t) {
    constexpr int kEntries = 20000;
    ::mkdir("big", 0755);
    for (int i = 0; i < kEntries; i++) {
        const int fd = ::open(fmt::format("big/f{:05}", i).c_str(), O_CREAT | O_WRONLY, 0644);
        if (fd < 0) {
            t.ret("setup failed: create", fd);
            return;
        }
        ::close(fd);
    }
    DIR* dir = ::opendir("big");
    std::map<std::string, int> seen;
    std::set<std::string> removed;
    int step = 0;
    while (const dirent* entry = ::readdir(dir)) {
        seen[entry->d_name]++;
        if (++step % 20 != 0 || step > 15000) continue;
        const std::string gone = fmt::format("f{:05}", (step * 7919) % kEntries);
        if (::unlink(("big/" + gone).c_str()) == 0) removed.insert(gone);
        ::close(::open(fmt::format("big/new{:05}", step).c_str(), O_CREAT | O_WRONLY, 0644));
        if (step % 60 == 0) {
            (void)!::rename(fmt::format("big/new{:05}", step).c_str(),
                            fmt::format("big/renamed{:05}", step).c_str());
        }
    }
    ::closedir(dir);
    bool once = true;
    bool complete = true;
    for (const auto& [name, times] : seen) once = once && times == 1;
    for (int i = 0; i < kEntries; i++) {
        const std::string name = fmt::format("f{:05}", i);
        if (!removed.contains(name)) complete = complete && seen.contains(name);
    }
    t.check("no entry twice", once);
    t.check("every entry that stayed", complete);
    long left = 0;
    dir = ::opendir("big");
    while (const dirent* entry = ::readdir(dir)) left += entry->d_name[0] != '.';
    ::closedir(dir);
    t.check("a fresh listing is exact",
            left == kEntries - static_cast<long>(removed.size()) + 15000 / 20);
});

const Register removed_open("dir.removed_while_open", [](const Trace& t) {
    ::mkdir("d", 0755);
    DIR* dir = ::opendir("d");
    t.ret("rmdir", ::rmdir("d"));
    t.fstat("removed directory", ::dirfd(dir));
    int entries = 0;
    errno = 0;
    while (const dirent* entry = ::readdir(dir)) {
        entries += ::strcmp(entry->d_name, ".") != 0 && ::strcmp(entry->d_name, "..") != 0;
    }
    t.ret("entries but . and ..", entries);
    t.ok("create in it", ::openat(::dirfd(dir), "f", O_CREAT | O_RDWR, 0644));
    t.ret("mkdir in it", ::mkdirat(::dirfd(dir), "s", 0755));
    t.ret("symlink in it", ::symlinkat("x", ::dirfd(dir), "l"));
    t.ret("lookup in it", ::faccessat(::dirfd(dir), "f", F_OK, 0));
    t.ret("fsync of it", ::fsync(::dirfd(dir)));
    ::closedir(dir);
    t.ret("the name is free", ::mkdir("d", 0755));

    ::mkdir("cwd", 0755);
    t.child([&] {
        (void)!::chdir("cwd");
        t.ret("rmdir of the working directory by path", ::rmdir("../cwd"));
        char buffer[PATH_MAX];
        t.check("getcwd fails", ::getcwd(buffer, sizeof buffer) == nullptr && errno == ENOENT);
        t.ok("create", ::open("f", O_CREAT | O_RDWR, 0644));
        t.stat("the dead directory", ".");
    });
});

const Register path_max("dir.path_max", [](const Trace& t) {
    // 4,095 bytes is the longest path a call takes; deeper trees are reached step by step.
    const std::string name(150, 'p');
    std::string path;
    while (path.size() + name.size() + 1 < PATH_MAX - 100) {
        path += (path.empty() ? "" : "/") + name;
        if (::mkdir(path.c_str(), 0755) < 0) {
            t.ret("setup failed: mkdir", -1);
            return;
        }
    }
    const std::string longest = path + "/" + std::string(PATH_MAX - 1 - path.size() - 1, 'f');
    t.ret("path length", static_cast<long>(longest.size()));
    put(t, longest, "deep");
    t.stat("file at PATH_MAX - 1", longest);
    t.content("file at PATH_MAX - 1", longest);
    t.ret("truncate", ::truncate(longest.c_str(), 2));
    t.ret("chmod", ::chmod(longest.c_str(), 0600));
    t.stat("file", longest);
    t.stat("one byte more", longest + "x");
    t.ok("create one byte more", ::open((longest + "x").c_str(), O_CREAT | O_RDWR, 0644));
    t.ret("rename to short", ::rename(longest.c_str(), "short"));
    t.ret("and back", ::rename("short", longest.c_str()));
    t.child([&] {
        bool fine = ::chdir(path.c_str()) == 0;
        for (int i = 0; fine && i < 40; i++) {
            fine = ::mkdir(name.c_str(), 0755) == 0 && ::chdir(name.c_str()) == 0;
        }
        t.check("10,000 bytes deep", fine);
        put(t, "bottom", "here");
        t.content("bottom", "bottom");
        t.list("bottom", ".");
    });
    t.list("just above", path);
    t.ret("unlink", ::unlink(longest.c_str()));
});

const Register parents("dir.dot_dot", [](const Trace& t) {
    ::mkdir("a", 0755);
    ::mkdir("b", 0755);
    ::mkdir("a/d", 0755);
    put(t, "a/mark-a", "");
    put(t, "b/mark-b", "");
    t.child([&] {
        (void)!::chdir("a/d");
        t.list("parent before", "..");
        t.ret("move it", ::rename("../../a/d", "../../b/d"));
        t.list("parent after", "..");
        put(t, "new", "x");
    });
    t.list("moved", "b/d");
    struct stat up {};
    struct stat b {};
    t.ret("stat", ::stat("b/d/..", &up));
    t.ret("stat", ::stat("b", &b));
    t.check(".. is the new parent", up.st_ino == b.st_ino);
});

}  // namespace
}  // namespace extencfs::conformance
