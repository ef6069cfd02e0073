// SPDX-License-Identifier: Apache-2.0
// Permissions as several users: who may do what, sticky and setgid directories, privilege bits
// that go at a write, supplementary groups.
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

constexpr uid_t kOwner = 2001;
constexpr uid_t kOther = 2002;
constexpr gid_t kGroup = 3001;
constexpr gid_t kElse = 3002;

struct Who {
    const char* name;
    uid_t uid;
    gid_t gid;
    std::vector<gid_t> groups;
};
const std::vector<Who>& people() {
    static const std::vector<Who> all = {{"owner", kOwner, kElse, {}},
                                         {"member", kOther, kGroup, {}},
                                         {"supplementary", kOther, kElse, {77, kGroup}},
                                         {"stranger", kOther, kElse, {}},
                                         {"root", 0, 0, {}}};
    return all;
}

const Register files(
    "perm.files",
    [](const Trace& t) {
        (void)!::chmod(".", 0777);
        for (const mode_t mode :
             {0, 0400, 0200, 0100, 0040, 0020, 0010, 0004, 0002, 0644, 0660, 0077, 0700}) {
            put(t, "f", "x");
            (void)!::chown("f", kOwner, kGroup);
            (void)!::chmod("f", mode);
            for (const Who& who : people()) {
                t.as(who.uid, who.gid, who.groups, [&] {
                    const std::string what = fmt::format("{:o} {}", mode, who.name);
                    t.ok(what + " read", ::open("f", O_RDONLY | O_CLOEXEC));
                    t.ok(what + " write", ::open("f", O_WRONLY | O_CLOEXEC));
                    t.ret(what + " access r", ::access("f", R_OK));
                    t.ret(what + " access w", ::access("f", W_OK));
                    t.ret(what + " access x", ::access("f", X_OK));
                    t.ret(what + " truncate", ::truncate("f", 1));
                    t.ret(what + " touch", ::utimensat(AT_FDCWD, "f", nullptr, 0));
                    const timespec when[2] = {{1, 0}, {1, 0}};
                    t.ret(what + " set times", ::utimensat(AT_FDCWD, "f", when, 0));
                    t.ret(what + " setxattr", ::setxattr("f", "user.a", "1", 1, 0));
                    char value[8];
                    t.ret(what + " getxattr", ::getxattr("f", "user.a", value, sizeof value));
                    t.ok(what + " noatime", ::open("f", O_RDONLY | O_NOATIME | O_CLOEXEC));
                });
            }
        }
    },
    Needs::kRoot);

const Register dirs(
    "perm.directories",
    [](const Trace& t) {
        (void)!::chmod(".", 0777);
        for (const mode_t mode :
             {0, 0400, 0200, 0100, 0500, 0300, 0700, 0050, 0030, 0010, 0005, 0003, 0001, 0755}) {
            ::mkdir("d", 0755);
            put(t, "d/f", "x", 0666);
            (void)!::chmod("d/f", 0666);
            (void)!::chown("d", kOwner, kGroup);
            (void)!::chmod("d", mode);
            for (const Who& who : people()) {
                t.as(who.uid, who.gid, who.groups, [&] {
                    const std::string what = fmt::format("{:o} {}", mode, who.name);
                    struct stat st {};
                    t.ret(what + " stat below", ::stat("d/f", &st));
                    t.ret(what + " stat missing", ::stat("d/no", &st));
                    t.ok(what + " open below", ::open("d/f", O_RDWR | O_CLOEXEC));
                    t.ok(what + " list", ::open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
                    t.ok(what + " create", ::open("d/n", O_CREAT | O_EXCL | O_WRONLY, 0644));
                    t.stat("made", "d/n");
                    t.ret(what + " mkdir", ::mkdir("d/s", 0755));
                    t.ret(what + " rmdir", ::rmdir("d/s"));
                    t.ret(what + " link", ::link("d/f", "d/l"));
                    t.ret(what + " rename", ::rename("d/n", "d/m"));
                    t.ret(what + " unlink", ::unlink("d/m"));
                    t.ret(what + " unlink link", ::unlink("d/l"));
                    t.ret(what + " chdir", ::chdir("d"));
                });
            }
            ::unlink("d/n");
            ::unlink("d/m");
            ::unlink("d/l");
            ::unlink("d/f");
            t.ret("rmdir", ::rmdir("d"));
        }
    },
    Needs::kRoot);

const Register ownership(
    "perm.chmod_chown_by_users",
    [](const Trace& t) {
        (void)!::chmod(".", 0777);
        for (const Who& who : people()) {
            put(t, "f", "x");
            (void)!::chmod("f", 0644);
            (void)!::chown("f", kOwner, kElse);
            t.as(who.uid, who.gid, who.groups, [&] {
                const std::string what = who.name;
                t.ret(what + " chmod", ::chmod("f", 0666));
                t.ret(what + " chmod suid sgid", ::chmod("f", 06755));
                t.stat("f", "f");
                t.ret(what + " give away", ::chown("f", kOther, -1));
                t.ret(what + " to its own group", ::chown("f", -1, who.gid));
                t.ret(what + " to a foreign group", ::chown("f", -1, 9999));
                t.ret(what + " to a supplementary group", ::chown("f", -1, kGroup));
                t.ret(what + " to the same owner", ::chown("f", kOwner, -1));
                t.stat("f", "f");
                t.ret(what + " trusted", ::setxattr("f", "trusted.a", "1", 1, 0));
                t.ret(what + " mknod device", ::mknod("dev", S_IFCHR | 0600, 0x103));
                ::unlink("dev");
            });
            ::unlink("f");
        }
        // sgid survives a chmod only for a member of the file's group.
        put(t, "g", "x");
        (void)!::chown("g", kOwner, kGroup);
        t.as(kOwner, kElse, {},
             [&] { t.ret("chmod by one outside the group", ::chmod("g", 02755)); });
        t.stat("g", "g");
        t.as(kOwner, kElse, {kGroup}, [&] { t.ret("chmod by a member", ::chmod("g", 02755)); });
        t.stat("g", "g");
    },
    Needs::kRoot);

const Register privileges(
    "perm.suid_goes_at_change",
    [](const Trace& t) {
        (void)!::chmod(".", 0777);
        const auto fresh = [&](mode_t mode) {
            ::unlink("f");
            put(t, "f", "0123456789");
            (void)!::chown("f", kOwner, kGroup);
            (void)!::chmod("f", mode);
        };
        for (const mode_t mode : {06777, 04777, 02777, 06767, 02767}) {
            for (const uid_t uid : {uid_t{0}, kOwner, kOther}) {
                const auto each = [&](const char* what, const std::function<void()>& act) {
                    fresh(mode);
                    t.as(uid, kElse, {}, act);
                    t.stat(fmt::format("{:o} after {} by {}", mode, what, uid), "f");
                };
                each("write", [&] {
                    const int fd = ::open("f", O_WRONLY | O_CLOEXEC);
                    t.ret("write", ::write(fd, "x", 1));
                    t.fstat("at once", fd);
                });
                each("append", [&] {
                    const int fd = ::open("f", O_WRONLY | O_APPEND | O_CLOEXEC);
                    t.ret("write", ::write(fd, "x", 1));
                });
                each("truncate", [&] { t.ret("truncate", ::truncate("f", 5)); });
                each("ftruncate", [&] {
                    const int fd = ::open("f", O_WRONLY | O_CLOEXEC);
                    t.ret("ftruncate", ::ftruncate(fd, 5));
                });
                each("O_TRUNC", [&] { t.ok("open", ::open("f", O_WRONLY | O_TRUNC | O_CLOEXEC)); });
                each("fallocate", [&] {
                    const int fd = ::open("f", O_WRONLY | O_CLOEXEC);
                    t.ret("fallocate", ::fallocate(fd, 0, 0, 8192));
                });
                each("nothing", [&] { t.ok("open", ::open("f", O_RDWR | O_CLOEXEC)); });
            }
        }
    },
    Needs::kRoot);

const Register sticky(
    "perm.sticky",
    [](const Trace& t) {
        ::mkdir("s", 0755);
        (void)!::chmod("s", 01777);
        (void)!::chown("s", 2009, kGroup);
        for (const Who& who : people()) {
            ::mkdir("s/d", 0755);
            put(t, "s/f", "x");
            put(t, "s/g", "y");
            put(t, "s/mine", "z");
            for (const char* name : {"s/f", "s/g", "s/d"}) (void)!::chown(name, kOwner, kGroup);
            (void)!::chown("s/mine", who.uid, who.gid);
            t.as(who.uid, who.gid, who.groups, [&] {
                const std::string what = who.name;
                t.ret(what + " replace by rename", ::rename("s/mine", "s/g"));
                t.ret(what + " rename", ::rename("s/f", "s/renamed"));
                t.ret(what + " unlink", ::unlink("s/f"));
                t.ret(what + " rmdir", ::rmdir("s/d"));
                t.ret(what + " own file", ::unlink("s/mine"));
                t.ret(what + " exchange",
                      ::renameat2(AT_FDCWD, "s/g", AT_FDCWD, "s/f", RENAME_EXCHANGE));
            });
            t.list("left", "s");
            for (const char* name : {"s/f", "s/g", "s/mine", "s/renamed"}) ::unlink(name);
            ::rmdir("s/d");
        }
    },
    Needs::kRoot);

const Register setgid(
    "perm.setgid_directory",
    [](const Trace& t) {
        ::mkdir("g", 0755);
        (void)!::chown("g", 0, kGroup);
        (void)!::chmod("g", 02777);
        for (const Who& who : people()) {
            t.as(who.uid, who.gid, who.groups, [&] {
                ::umask(022);
                t.ret(fmt::format("{} mkdir", who.name), ::mkdir("g/d", 0777));
                t.stat("inherits group and setgid", "g/d");
                t.ret("mkdir below", ::mkdir("g/d/e", 0700));
                t.stat("and below it", "g/d/e");
                t.ok("create", ::open("g/f", O_CREAT | O_WRONLY | O_CLOEXEC, 02775));
                t.stat("a file inherits the group", "g/f");
                t.ret("symlink", ::symlink("x", "g/l"));
                t.stat("a symlink too", "g/l");
                t.ret("mkfifo", ::mkfifo("g/p", 0644));
                t.stat("a fifo too", "g/p");
                ::mkdir("outside-", 0755);
            });
            put(t, "elsewhere", "x");
            t.ret("moved in", ::rename("elsewhere", "g/moved"));
            t.stat("keeps its group", "g/moved");
            for (const char* name : {"g/f", "g/l", "g/p", "g/moved"}) ::unlink(name);
            ::rmdir("g/d/e");
            t.ret("rmdir", ::rmdir("g/d"));
        }
    },
    Needs::kRoot);

const Register exec(
    "perm.execute",
    [](const Trace& t) {
        (void)!::chmod(".", 0777);
        put(t, "script", "#!/bin/sh\nexit 7\n");
        put(t, "true", get("/bin/true"));
        const auto run = [&](const char* path) {
            const int status = t.child([&] {
                ::execl(path, path, static_cast<char*>(nullptr));
                _exit(errno == EACCES ? 101 : 102);
            });
            t.print("{} = {}", path, WIFEXITED(status) ? WEXITSTATUS(status) : -1);
        };
        run("./true");
        (void)!::chmod("true", 0755);
        (void)!::chmod("script", 0711);
        run("./true");
        run("./script");
        t.as(kOther, kElse, {}, [&] {
            run("./true");
            t.ok("read what may only be executed", ::open("script", O_RDONLY));
        });
        const int writer = ::open("true", O_WRONLY | O_CLOEXEC);
        run("./true");  // ETXTBSY while it is open for writing
        ::close(writer);
        run("./true");
    },
    Needs::kRoot);

const Register creator(
    "perm.created_as",
    [](const Trace& t) {
        (void)!::chmod(".", 0777);
        for (const Who& who : people()) {
            t.as(who.uid, who.gid, who.groups, [&] {
                const std::string name = who.name;
                ::umask(027);
                t.ok("create", ::open((name + "-f").c_str(), O_CREAT | O_EXCL | O_RDWR, 0666));
                t.ret("mkdir", ::mkdir((name + "-d").c_str(), 0777));
                t.ret("symlink", ::symlink("x", (name + "-l").c_str()));
                t.ret("mkfifo", ::mkfifo((name + "-p").c_str(), 0666));
                // Written although the mode it was made with forbids it.
                const int fd = t.ok("create read-only",
                                    ::open((name + "-r").c_str(), O_CREAT | O_EXCL | O_RDWR, 0400));
                t.ret("write", ::write(fd, "data", 4));
                t.ret("truncate", ::ftruncate(fd, 2));
                ::close(fd);
                const int none = t.ok("create mode 0",
                                      ::open((name + "-0").c_str(), O_CREAT | O_EXCL | O_RDWR, 0));
                t.ret("write", ::write(none, "data", 4));
                char b[8];
                t.ret("read", ::pread(none, b, 8, 0));
                for (const char* end : {"-f", "-d", "-l", "-p", "-r", "-0"})
                    t.stat(end, name + end);
            });
        }
        t.list("all", ".");
    },
    Needs::kRoot);

}  // namespace
}  // namespace extencfs::conformance
