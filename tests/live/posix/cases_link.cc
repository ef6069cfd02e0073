// SPDX-License-Identifier: Apache-2.0
// Hard links, symlinks, special files, names of every length and byte.
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

const Register hard("link.hard", [](const Trace& t) {
    put(t, "f", "shared");
    ::mkdir("d", 0755);
    ::mkdir("e", 0755);
    t.ret("link", ::link("f", "g"));
    t.ret("link into a directory", ::link("g", "d/h"));
    t.ret("link with a long name", ::link("f", std::string(255, 'l').c_str()));
    for (const char* name : {"f", "g", "d/h"}) t.stat(name, name);
    put(t, "d/h", "written through the third name");
    t.content("seen by the first", "f");
    t.ret("chmod by the second", ::chmod("g", 0600));
    t.stat("f", "f");
    t.ret("unlink the first", ::unlink("f"));
    t.stat("g", "g");
    t.ret("move one link to another directory", ::rename("d/h", "e/h"));
    t.ret("unlink the second", ::unlink("g"));
    t.content("the third", "e/h");
    t.stat("the third", "e/h");
    t.ret("unlink the long one", ::unlink(std::string(255, 'l').c_str()));
    t.stat("the last", "e/h");
});

const Register hard_errors("link.errors", [](const Trace& t) {
    put(t, "f", "x");
    put(t, "g", "y");
    ::mkdir("d", 0755);
    (void)!::symlink("f", "to_f");
    (void)!::symlink("nowhere", "dangling");
    ::mkfifo("fifo", 0644);
    t.ret("over a file", ::link("f", "g"));
    t.ret("over a directory", ::link("f", "d"));
    t.ret("over a symlink", ::link("f", "dangling"));
    t.ret("over itself", ::link("f", "f"));
    t.ret("of a directory", ::link("d", "d2"));
    t.ret("of nothing", ::link("no", "n"));
    t.ret("to a missing parent", ::link("f", "no/n"));
    t.ret("below a file", ::link("f", "g/n"));
    t.ret("to 256 bytes", ::link("f", std::string(256, 'x').c_str()));
    t.ret("of a symlink itself", ::linkat(AT_FDCWD, "to_f", AT_FDCWD, "same_symlink", 0));
    t.stat("a second name of the symlink", "same_symlink");
    t.ret("through a symlink", ::linkat(AT_FDCWD, "to_f", AT_FDCWD, "through", AT_SYMLINK_FOLLOW));
    t.stat("through", "through");
    t.ret("of a fifo", ::link("fifo", "fifo2"));
    t.stat("fifo2", "fifo2");
    const int fd = ::open("f", O_RDONLY | O_CLOEXEC);
    t.ret("by descriptor", ::linkat(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd).c_str(), AT_FDCWD,
                                    "by_fd", AT_SYMLINK_FOLLOW));
    t.ret("unlink f", ::unlink("f"));
    t.ret("unlink through", ::unlink("through"));
    t.ret("unlink by_fd", ::unlink("by_fd"));
    t.fstat("no name left", fd);
    t.ret("a file without names has none again",
          ::linkat(AT_FDCWD, fmt::format("/proc/self/fd/{}", fd).c_str(), AT_FDCWD, "back",
                   AT_SYMLINK_FOLLOW));
    t.list("in the end", ".");
});

const Register many("link.many", [](const Trace& t) {
    put(t, "f", "x");
    bool fine = true;
    for (int i = 0; i < 300; i++) {
        fine = fine && ::link("f", fmt::format("l{}", i).c_str()) == 0;
    }
    t.check("300 links", fine);
    t.stat("f", "f");
    for (int i = 0; i < 300; i += 2) fine = fine && ::unlink(fmt::format("l{}", i).c_str()) == 0;
    t.check("half of them gone", fine);
    t.stat("f", "f");
    t.stat("l1", "l1");
});

const Register symlinks("symlink.lengths", [](const Trace& t) {
    for (const int size :
         {1,    2,    15,   16,   17,   100,  254,  255,  256,  1000, 2000, 3000, 3030,
          3031, 3032, 3033, 3071, 3072, 3999, 4000, 4093, 4094, 4095, 4096, 5000}) {
        const std::string target = "t" + std::string(size - 1, static_cast<char>('a' + size % 26));
        const std::string what = fmt::format("target of {} bytes", size);
        if (t.ret(what, ::symlink(target.c_str(), "l")) < 0) continue;
        t.stat(what, "l");
        char buffer[PATH_MAX + 10];
        const long got = t.ret("readlink", ::readlink("l", buffer, sizeof buffer));
        t.check("the same text", got == size && std::string_view(buffer, got) == target);
        ::memset(buffer, '#', sizeof buffer);
        const std::size_t less = static_cast<std::size_t>(size) / 2 + 1;
        t.ret("readlink cut", ::readlink("l", buffer, less));
        t.check("cut there",
                std::string_view(buffer, less) == target.substr(0, less) && buffer[less] == '#');
        t.ret("rename", ::rename("l", "m"));
        t.ret("link", ::link("m", "n"));
        t.ret("unlink", ::unlink("m"));
        t.ret("readlink of the link", ::readlink("n", buffer, sizeof buffer));
        t.ret("unlink the last", ::unlink("n"));
    }
    t.list("in the end", ".");
});

const Register symlink_rest("symlink.behaviour", [](const Trace& t) {
    char buffer[64];
    t.ret("empty target", ::symlink("", "l"));
    t.ret("to a path with a bad byte", ::symlink("bad\xff\x01/../\n", "bytes"));
    t.ret("readlink", ::readlink("bytes", buffer, sizeof buffer));
    t.ret("readlink with size 0", ::readlink("bytes", buffer, 0));
    put(t, "f", "x");
    t.ret("readlink of a file", ::readlink("f", buffer, sizeof buffer));
    t.ret("readlink of a directory", ::readlink(".", buffer, sizeof buffer));
    t.ret("readlink of nothing", ::readlink("no", buffer, sizeof buffer));
    t.ret("over an existing name", ::symlink("x", "f"));
    t.ret("of 256 bytes' name", ::symlink("x", std::string(256, 'x').c_str()));
    t.ret("with a long name", ::symlink("f", std::string(255, 'y').c_str()));
    t.content("through the long name", std::string(255, 'y'));
    ::mkdir("d", 0755);
    put(t, "d/in", "inside");
    t.ret("to a directory", ::symlink("d", "to_d"));
    t.content("through it", "to_d/in");
    t.ret("absolute chain", ::symlink("to_d/../to_d/in", "chain"));
    t.content("through the chain", "chain");
    for (int i = 0; i < 45; i++) {
        (void)!::symlink(i == 0 ? "f" : fmt::format("hop{}", i - 1).c_str(),
                         fmt::format("hop{}", i).c_str());
    }
    t.ok("40 hops", ::open("hop39", O_RDONLY | O_CLOEXEC));
    t.ok("41 hops", ::open("hop40", O_RDONLY | O_CLOEXEC));
    t.ret("chmod through it", ::chmod("chain", 0600));
    t.stat("target", "d/in");
    t.ret("fchmodat without following", ::fchmodat(AT_FDCWD, "chain", 0600, AT_SYMLINK_NOFOLLOW));
    t.ret("lchown", ::lchown("chain", ::getuid(), ::getgid()));
    const timespec when[2] = {{1000, 1}, {2000, 2}};
    t.ret("utimensat of the symlink", ::utimensat(AT_FDCWD, "chain", when, AT_SYMLINK_NOFOLLOW));
    t.stat_times("the symlink", "chain");
    t.ret("truncate through it", ::truncate("chain", 2));
    t.content("target", "d/in");
});

const Register special(
    "mknod.kinds",
    [](const Trace& t) {
        t.ret("fifo", ::mknod("fifo", S_IFIFO | 0640, 0));
        t.ret("socket", ::mknod("socket", S_IFSOCK | 0600, 0));
        t.ret("character", ::mknod("chr", S_IFCHR | 0666, makedev(1, 3)));
        t.ret("block", ::mknod("blk", S_IFBLK | 0660, makedev(7, 200)));
        t.ret("large numbers", ::mknod("big", S_IFCHR | 0600, makedev(4095, 1048575)));
        t.ret("regular", ::mknod("reg", S_IFREG | 0644, 0));
        t.ret("no type", ::mknod("none", 0644, 0));
        t.ret("directory", ::mknod("dir", S_IFDIR | 0755, 0));
        t.ret("exists", ::mknod("fifo", S_IFIFO | 0640, 0));
        for (const char* name : {"fifo", "socket", "chr", "blk", "big", "reg", "none"})
            t.stat(name, name);
        put(t, "reg", "now has bytes");
        t.content("reg", "reg");
        t.ret("chmod", ::chmod("chr", 0600));
        t.ret("chown", ::chown("blk", 3, 4));
        t.ret("rename", ::rename("blk", "moved"));
        t.stat("moved", "moved");
        t.list("all", ".");
    },
    Needs::kRoot);

const Register fifo("mknod.fifo_and_socket_work", [](const Trace& t) {
    ::mkfifo("fifo", 0644);
    const int r = ::open("fifo", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    const int w = t.ok("writer", ::open("fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    t.ret("write", ::write(w, "through", 7));
    char buffer[16];
    t.ret("read", ::read(r, buffer, sizeof buffer));
    t.ret("no reader", ::open("fifo2", O_WRONLY | O_NONBLOCK));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, "socket", sizeof address.sun_path - 1);
    const int server = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto* at = reinterpret_cast<const sockaddr*>(&address);
    t.ret("bind", ::bind(server, at, sizeof address));
    t.ret("bind again", ::bind(::socket(AF_UNIX, SOCK_STREAM, 0), at, sizeof address));
    t.ret("listen", ::listen(server, 1));
    const int client = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    t.ret("connect", ::connect(client, at, sizeof address));
    t.stat("socket", "socket");
    t.ok("open a socket", ::open("socket", O_RDONLY | O_CLOEXEC));
});

void name_round(const Trace& t, const std::string& name, const std::string& what) {
    const int fd = ::open(name.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (t.ok(fmt::format("create {}", what), fd) < 0) return;
    ::close(fd);
    t.list(what, ".");
    struct stat st {};
    t.ret("stat", ::stat(name.c_str(), &st));
    t.ret("link", ::link(name.c_str(), (std::string(name.size(), '#')).c_str()));
    t.ret("unlink", ::unlink(name.c_str()));
    t.ret("gone", ::stat(name.c_str(), &st));
    t.ret("unlink the link", ::unlink(std::string(name.size(), '#').c_str()));
}

const Register lengths("names.lengths", [](const Trace& t) {
    for (std::size_t size = 1; size <= 255; size++) {
        name_round(t, std::string(size - 1, 'n') + 'e', fmt::format("{} bytes", size));
    }
    const std::string over(256, 'o');
    struct stat st {};
    t.ret("256: stat", ::stat(over.c_str(), &st));
    t.ret("256: create", ::open(over.c_str(), O_CREAT | O_WRONLY, 0644));
    t.ret("256: mkdir", ::mkdir(over.c_str(), 0755));
    t.ret("256: unlink", ::unlink(over.c_str()));
    t.ret("256: rmdir", ::rmdir(over.c_str()));
    t.ret("256: mkfifo", ::mkfifo(over.c_str(), 0644));
    t.ret("256: rename", ::rename(over.c_str(), "x"));
    t.ret("256: below", ::stat((over + "/x").c_str(), &st));
    for (std::size_t size = 1; size <= 255; size += 2) {
        if (::mkdir(std::string(size, 'd').c_str(), 0755) < 0) t.ret("mkdir", -1);
    }
    t.list("directories of all lengths", ".");
    for (std::size_t size = 1; size <= 255; size += 2) {
        if (::rmdir(std::string(size, 'd').c_str()) < 0) t.ret("rmdir", -1);
    }
    t.list("in the end", ".");
});

const Register bytes("names.bytes", [](const Trace& t) {
    for (int c = 1; c < 256; c++) {
        if (c == '/' || c == '#') continue;
        const std::string one(1, static_cast<char>(c));
        if (one != ".") name_round(t, one, fmt::format("byte {:02x}", c));
        if (c != '.') name_round(t, one + one, fmt::format("two of {:02x}", c));
        name_round(t, "a" + one + "z", fmt::format("{:02x} inside", c));
    }
    for (const char* name : {"...",
                             "..x",
                             ".x",
                             " ",
                             "  lead",
                             "trail  ",
                             "trail.",
                             "a:b",
                             "*",
                             "\\",
                             "extencfs.dir",
                             "extencfs.conf",
                             "extencfs.conf.bak",
                             "extencfs.l.x",
                             "extencfs.n.x",
                             "extencfs.t.x",
                             "extencfs.s",
                             "extencfs.state",
                             ".fuse_hidden0000000100000001",
                             "-rf",
                             "\xc3\xa9",
                             "e\xcc\x81",
                             "\xf0\x9f\x94\x92",
                             "\xed\xa0\x80",
                             "NUL",
                             "con.txt",
                             "lost+found"}) {
        name_round(t, name, name);
    }
    put(t, "case", "lower");
    put(t, "CASE", "upper");
    put(t, "\xc3\xa9", "composed");
    put(t, "e\xcc\x81", "decomposed");
    for (const char* name : {"case", "CASE", "\xc3\xa9", "e\xcc\x81"}) t.content(name, name);
});

}  // namespace
}  // namespace extencfs::conformance
