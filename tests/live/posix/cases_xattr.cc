// SPDX-License-Identifier: Apache-2.0
// Extended attributes: user.*, trusted.*, security.*, on every kind of file.
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <algorithm>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

void show(const Trace& t, const char* what, const char* path, const std::string& name) {
    std::vector<char> value(70000);
    const ssize_t got = ::lgetxattr(path, name.c_str(), value.data(), value.size());
    if (got < 0)
        t.ret(what, got);
    else
        t.bytes(what, std::string_view(value.data(), got));
}

void show_list(const Trace& t, const char* what, const char* path) {
    std::vector<char> names(70000);
    const ssize_t got = ::llistxattr(path, names.data(), names.size());
    if (got < 0) {
        t.ret(what, got);
        return;
    }
    std::vector<std::string> all;
    for (ssize_t at = 0; at < got; at += static_cast<ssize_t>(::strlen(&names[at])) + 1) {
        all.emplace_back(&names[at]);
    }
    std::sort(all.begin(), all.end());
    t.print("{} = {} bytes [{}]", what, got, fmt::join(all, " "));
    t.ret("size of the list", ::llistxattr(path, nullptr, 0));
}

const Register user("xattr.user", [](const Trace& t) {
    put(t, "f", "x");
    char value[100];
    show_list(t, "nothing", "f");
    t.ret("missing", ::getxattr("f", "user.no", value, sizeof value));
    t.ret("remove missing", ::removexattr("f", "user.no"));
    t.ret("replace missing", ::setxattr("f", "user.a", "1", 1, XATTR_REPLACE));
    t.ret("create", ::setxattr("f", "user.a", "one", 3, XATTR_CREATE));
    t.ret("create again", ::setxattr("f", "user.a", "two", 3, XATTR_CREATE));
    show(t, "value", "f", "user.a");
    t.ret("replace", ::setxattr("f", "user.a", "three", 5, XATTR_REPLACE));
    show(t, "value", "f", "user.a");
    t.ret("set", ::setxattr("f", "user.b", "four", 4, 0));
    t.ret("both flags", ::setxattr("f", "user.b", "x", 1, XATTR_CREATE | XATTR_REPLACE));
    t.ret("unknown flag", ::setxattr("f", "user.b", "x", 1, 64));
    show_list(t, "two", "f");
    t.ret("empty value", ::setxattr("f", "user.empty", "", 0, 0));
    show(t, "empty value", "f", "user.empty");
    t.ret("size", ::getxattr("f", "user.a", nullptr, 0));
    t.ret("too small", ::getxattr("f", "user.a", value, 4));
    t.ret("just enough", ::getxattr("f", "user.a", value, 5));
    t.ret("list too small", ::listxattr("f", value, 3));
    t.ret("bytes in a value", ::setxattr("f", "user.bytes", "a\0b\xff\n", 5, 0));
    show(t, "bytes", "f", "user.bytes");
    t.ret("odd name", ::setxattr("f", "user.\xc3\xa9 \x01/..", "x", 1, 0));
    show(t, "odd name", "f", "user.\xc3\xa9 \x01/..");
    show_list(t, "all", "f");
    for (const char* name : {"user.", "user", "", "nonsense.x", "system.x", "USER.a"}) {
        t.ret(fmt::format("name '{}'", name), ::setxattr("f", name, "x", 1, 0));
        t.ret(fmt::format("get '{}'", name), ::getxattr("f", name, value, sizeof value));
    }
    t.ret("remove", ::removexattr("f", "user.a"));
    t.ret("remove again", ::removexattr("f", "user.a"));
    show_list(t, "left", "f");
});

const Register sizes("xattr.sizes", [](const Trace& t) {
    put(t, "f", "x");
    for (const std::size_t size : {0u, 1u, 15u, 16u, 17u, 100u, 255u, 1000u, 2000u, 3000u}) {
        const std::string data = pattern(size, 3);
        t.ret(fmt::format("set {}", size), ::setxattr("f", "user.v", data.data(), data.size(), 0));
        show(t, "value", "f", "user.v");
    }
    t.ret("remove", ::removexattr("f", "user.v"));
    for (const std::size_t size : {6u, 20u, 64u, 100u, 120u}) {
        const std::string name = "user." + std::string(size - 5, 'n');
        t.ret(fmt::format("name of {}", size), ::setxattr("f", name.c_str(), "v", 1, 0));
        show(t, "value", "f", name);
        t.ret("remove", ::removexattr("f", name.c_str()));
    }
    const std::string over = "user." + std::string(251, 'n');
    t.ret("name of 256", ::setxattr("f", over.c_str(), "v", 1, 0));
    t.ret("value over 64 KiB", ::setxattr("f", "user.v", pattern(65537, 1).data(), 65537, 0));
    for (int i = 0; i < 12; i++) {
        t.ret("one of many", ::setxattr("f", fmt::format("user.many{}", i).c_str(), "val", 3, 0));
    }
    show_list(t, "many", "f");
});

const Register kinds(
    "xattr.kinds",
    [](const Trace& t) {
        put(t, "f", "x");
        ::mkdir("d", 0755);
        (void)!::symlink("f", "l");
        ::mkfifo("p", 0644);
        for (const char* name : {"f", "d", "l", "p", "no"}) {
            const std::string what = name;
            t.ret(what + " user", ::lsetxattr(name, "user.a", name, 1, 0));
            show(t, "value", name, "user.a");
            t.ret(what + " trusted", ::lsetxattr(name, "trusted.a", name, 1, 0));
            show(t, "value", name, "trusted.a");
            show_list(t, "list", name);
            t.ret(what + " remove", ::lremovexattr(name, "user.a"));
        }
        t.ret("through a symlink", ::setxattr("l", "user.through", "x", 1, 0));
        show_list(t, "on the file", "f");
        const int fd = ::open("f", O_RDWR | O_CLOEXEC);
        t.ret("fsetxattr", ::fsetxattr(fd, "user.fd", "by fd", 5, 0));
        show(t, "by name", "f", "user.fd");
        t.ret("link", ::link("f", "g"));
        show(t, "by the link", "g", "user.fd");
        t.ret("rename", ::rename("f", "d/f"));
        show(t, "after rename", "d/f", "user.fd");
        t.ret("unlink", ::unlink("d/f"));
        t.ret("unlink", ::unlink("g"));
        char value[16];
        t.ret("without a name", ::fgetxattr(fd, "user.fd", value, sizeof value));
        t.ret("set without a name", ::fsetxattr(fd, "user.late", "x", 1, 0));
        t.ret("get it", ::fgetxattr(fd, "user.late", value, sizeof value));
        t.ret("remove it", ::fremovexattr(fd, "user.late"));
        const int dir = ::open("d", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        t.ret("fsetxattr of a directory", ::fsetxattr(dir, "user.d", "x", 1, 0));
        show(t, "by name", "d", "user.d");
        t.ret("move the directory", ::rename("d", "e"));
        show(t, "after the move", "e", "user.d");
        t.as(2002, 9, {}, [&] {
            show_list(t, "trusted is hidden from a user", "e");
            t.ret("and not to be had", ::getxattr("e", "trusted.a", value, sizeof value));
        });
    },
    Needs::kRoot);

const Register security(
    "xattr.security",
    [](const Trace& t) {
        put(t, "f", "x");
        char value[16];
        t.ret("missing capability", ::getxattr("f", "security.capability", value, sizeof value));
        t.ret("security set", ::setxattr("f", "security.test", "x", 1, 0));
    },
    Needs::kRoot);

const Register content_kept("xattr.with_content", [](const Trace& t) {
    // An attribute before the first write, between writes, and across truncation.
    const int fd = ::open("f", O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    t.ret("set on the empty file", ::fsetxattr(fd, "user.first", "1", 1, 0));
    t.ret("write", ::write(fd, "data", 4));
    t.ret("set", ::fsetxattr(fd, "user.second", "2", 1, 0));
    t.ret("truncate to nothing", ::ftruncate(fd, 0));
    show(t, "first", "f", "user.first");
    show(t, "second", "f", "user.second");
    t.ret("write", ::pwrite(fd, "again", 5, 0));
    show(t, "first", "f", "user.first");
    ::close(fd);
    t.ok("O_TRUNC", ::open("f", O_WRONLY | O_TRUNC | O_CLOEXEC));
    show(t, "second", "f", "user.second");
    show_list(t, "both", "f");
});

}  // namespace
}  // namespace extencfs::conformance
