// SPDX-License-Identifier: Apache-2.0
// POSIX ACLs, by their xattrs (acl(5), linux/posix_acl_xattr.h): kept, enforced, inherited.
#include <endian.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

constexpr uid_t kNamed = 2003;
constexpr gid_t kGroup = 3001;
constexpr const char* kAccess = "system.posix_acl_access";
constexpr const char* kDefault = "system.posix_acl_default";

enum Tag : std::uint16_t {
    kUserObj = 1,
    kUser = 2,
    kGroupObj = 4,
    kGroupTag = 8,
    kMask = 16,
    kOtherTag = 32
};
struct Entry {
    std::uint16_t tag;
    std::uint16_t perm;
    std::uint32_t id = 0xffffffff;
};

std::string acl(const std::vector<Entry>& entries) {
    std::string out;
    const auto add = [&](auto value) {
        out.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    add(htole32(2));
    for (const Entry& e : entries) {
        add(htole16(e.tag));
        add(htole16(e.perm));
        add(htole32(e.id));
    }
    return out;
}

std::string named_acl(std::uint16_t user, std::uint16_t group, std::uint16_t mask) {
    return acl({{kUserObj, 6},
                {kUser, user, kNamed},
                {kGroupObj, 0},
                {kGroupTag, group, kGroup},
                {kMask, mask},
                {kOtherTag, 0}});
}

long set(const char* path, const char* which, const std::string& value) {
    return ::setxattr(path, which, value.data(), value.size(), 0);
}

void show(const Trace& t, const char* path, const char* which) {
    char value[512];
    const ssize_t got = ::getxattr(path, which, value, sizeof value);
    if (got < 0) {
        t.ret(fmt::format("{} of {}", which, path), got);
        return;
    }
    std::string hex;
    for (ssize_t i = 0; i < got; i++)
        hex += fmt::format("{:02x}", static_cast<unsigned char>(value[i]));
    t.print("{} of {} = {}", which, path, hex);
}

const Register kept("acl.set_and_get", [](const Trace& t) {
    put(t, "f", "x");
    ::mkdir("d", 0755);
    show(t, "f", kAccess);
    t.ret("set", set("f", kAccess, named_acl(7, 5, 7)));
    show(t, "f", kAccess);
    t.stat("the mask is the group bits", "f");
    t.ret("chmod changes the mask", ::chmod("f", 0640));
    show(t, "f", kAccess);
    t.ret("default of a file", set("f", kDefault, named_acl(7, 5, 7)));
    t.ret("default of a directory", set("d", kDefault, named_acl(7, 5, 7)));
    show(t, "d", kDefault);
    t.ret("damaged value", set("f", kAccess, "nonsense"));
    t.ret("without a mask",
          set("f", kAccess,
              acl({{kUserObj, 6}, {kUser, 7, kNamed}, {kGroupObj, 0}, {kOtherTag, 0}})));
    t.ret("equal to a mode",
          set("f", kAccess, acl({{kUserObj, 7}, {kGroupObj, 1}, {kOtherTag, 4}})));
    t.stat("sets the mode", "f");
    show(t, "f", kAccess);
    t.ret("set again", set("f", kAccess, named_acl(4, 4, 4)));
    t.ret("remove", ::removexattr("f", kAccess));
    show(t, "f", kAccess);
    t.stat("after removing", "f");
    t.ret("remove what is not there", ::removexattr("f", kDefault));
    t.ret("remove the default", ::removexattr("d", kDefault));
    show(t, "d", kDefault);
    char names[512];
    t.ret("set", set("f", kAccess, named_acl(6, 6, 6)));
    const ssize_t size = ::listxattr("f", names, sizeof names);
    t.check("listed",
            size > 0 && std::string_view(names, size).find(kAccess) != std::string_view::npos);
    t.ret("too small a buffer", ::getxattr("f", kAccess, names, 3));
    t.ret("size", ::getxattr("f", kAccess, nullptr, 0));
    t.ret("rename", ::rename("f", "g"));
    show(t, "g", kAccess);
    t.times("setting an ACL", "g", [] { set("g", kAccess, named_acl(4, 6, 6)); });
});

const Register enforced(
    "acl.enforced",
    [](const Trace& t) {
        (void)!::chmod(".", 0777);
        struct Person {
            const char* name;
            uid_t uid;
            gid_t gid;
            std::vector<gid_t> groups;
        };
        const Person people[] = {{"owner", 2001, 9, {}},
                                 {"named", kNamed, 9, {}},
                                 {"in group", 2002, kGroup, {}},
                                 {"supplementary", 2002, 9, {kGroup}},
                                 {"stranger", 2002, 9, {}}};
        for (const std::uint16_t user : {0, 4, 6, 7}) {
            for (const std::uint16_t mask : {0, 4, 7}) {
                ::unlink("f");
                put(t, "f", "x");
                (void)!::chown("f", 2001, 8);
                t.ret("set", set("f", kAccess, named_acl(user, 6, mask)));
                t.stat("f", "f");
                for (const Person& who : people) {
                    t.as(who.uid, who.gid, who.groups, [&] {
                        const std::string what =
                            fmt::format("user {} mask {} {}", user, mask, who.name);
                        t.ok(what + " read", ::open("f", O_RDONLY | O_CLOEXEC));
                        t.ok(what + " write", ::open("f", O_WRONLY | O_CLOEXEC));
                        t.ret(what + " access", ::access("f", R_OK | W_OK));
                        t.ret(what + " set", set("f", kAccess, named_acl(user, 6, mask)));
                    });
                }
            }
        }
        // A directory that only a named user may search.
        ::mkdir("d", 0700);
        put(t, "d/in", "x");
        (void)!::chmod("d/in", 0666);
        t.ret("set", set("d", kAccess,
                         acl({{kUserObj, 7},
                              {kUser, 5, kNamed},
                              {kGroupObj, 0},
                              {kMask, 5},
                              {kOtherTag, 0}})));
        t.as(kNamed, 9, {}, [&] {
            t.ok("named user goes in", ::open("d/in", O_RDWR));
            t.ok("but makes nothing", ::open("d/new", O_CREAT | O_RDWR, 0644));
            t.list("and lists", "d");
        });
        t.as(2002, 9, {}, [&] { t.ok("stranger does not", ::open("d/in", O_RDWR)); });
        t.ret("take it away", ::removexattr("d", kAccess));
        t.as(kNamed, 9, {}, [&] { t.ok("named user no more", ::open("d/in", O_RDWR)); });
    },
    Needs::kRoot);

const Register inherited(
    "acl.default_inherited",
    [](const Trace& t) {
        for (const mode_t mask : {0, 022, 077}) {
            const std::string top = fmt::format("d{:o}", mask);
            ::umask(mask);
            ::mkdir(top.c_str(), 0777);
            t.ret("set", set(top.c_str(), kDefault,
                             acl({{kUserObj, 7},
                                  {kUser, 6, kNamed},
                                  {kGroupObj, 5},
                                  {kMask, 7},
                                  {kOtherTag, 4}})));
            for (const mode_t mode : {0777, 0666, 0640, 0600}) {
                const std::string file = fmt::format("{}/f{:o}", top, mode);
                const std::string dir = fmt::format("{}/d{:o}", top, mode);
                const std::string fifo = fmt::format("{}/p{:o}", top, mode);
                t.ok("create", ::open(file.c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, mode));
                t.stat(file, file);
                show(t, file.c_str(), kAccess);
                show(t, file.c_str(), kDefault);
                t.ret("mkdir", ::mkdir(dir.c_str(), mode));
                t.stat(dir, dir);
                show(t, dir.c_str(), kAccess);
                show(t, dir.c_str(), kDefault);
                t.ret("mkfifo", ::mkfifo(fifo.c_str(), mode));
                t.stat(fifo, fifo);
                show(t, fifo.c_str(), kAccess);
            }
            t.ret("symlink", ::symlink("x", (top + "/l").c_str()));
            t.stat("a symlink has none", top + "/l");
            t.ret("without any default", ::removexattr(top.c_str(), kDefault));
            t.ok("create",
                 ::open((top + "/plain").c_str(), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666));
            t.stat("umask again", top + "/plain");
        }
        // As an ordinary user, with setgid on the parent too.
        ::umask(0);
        ::mkdir("g", 0777);
        (void)!::chown("g", 0, kGroup);
        (void)!::chmod("g", 02777);
        t.ret("set", set("g", kDefault,
                         acl({{kUserObj, 7},
                              {kUser, 7, kNamed},
                              {kGroupObj, 7},
                              {kMask, 7},
                              {kOtherTag, 0}})));
        t.as(2002, 9, {}, [&] {
            ::umask(022);
            t.ret("mkdir", ::mkdir("g/d", 0755));
            t.stat("g/d", "g/d");
            show(t, "g/d", kAccess);
            show(t, "g/d", kDefault);
            t.ok("create", ::open("g/f", O_CREAT | O_RDWR, 0664));
            t.stat("g/f", "g/f");
            show(t, "g/f", kAccess);
        });
    },
    Needs::kRoot);

const Register set_group_id(
    "acl.set_group_id",
    [](const Trace& t) {
        (void)!::chmod(".", 0777);
        ::umask(0);
        for (const bool directory : {false, true}) {
            const char* path = directory ? "d" : "f";
            const auto fresh = [&] {
                if (directory)
                    ::mkdir(path, 0770);
                else
                    put(t, path, "x");
                (void)!::chown(path, 2001, kGroup);
                (void)!::chmod(path, 02770);
            };
            const auto set_by = [&](const char* who, uid_t uid, gid_t gid,
                                    const std::vector<gid_t>& groups) {
                fresh();
                t.as(uid, gid, groups, [&] {
                    t.ret(fmt::format("{}: set by {}", path, who),
                          set(path, kAccess, named_acl(7, 5, 7)));
                });
                t.stat(fmt::format("{} set by {}", path, who), path);
                show(t, path, kAccess);
            };
            set_by("root", 0, 0, {});
            set_by("a member", 2001, kGroup, {});
            set_by("a supplementary member", 2001, 9, {8, kGroup});
            set_by("the owner, no member", 2001, 9, {8});
        }
        ::mkdir("e", 0770);
        (void)!::chown("e", 2001, kGroup);
        (void)!::chmod("e", 02770);
        t.as(2001, 9, {}, [&] { t.ret("default", set("e", kDefault, named_acl(7, 5, 7))); });
        t.stat("e, a default only", "e");
    },
    Needs::kRoot);

}  // namespace
}  // namespace extencfs::conformance
