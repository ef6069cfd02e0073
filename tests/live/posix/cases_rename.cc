// SPDX-License-Identifier: Apache-2.0
// rename(2), renameat2(2): every kind of source over every kind of target with every flag, open
// files on both sides, whole trees, long names.
#include <stdio.h>
#include <sys/stat.h>

#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

constexpr const char* kKinds[] = {"missing", "file", "empty", "full", "symlink", "fifo"};

void make(const Trace& t, const std::string& kind, const std::string& name) {
    if (kind == "file") put(t, name, "file " + name);
    if (kind == "empty" || kind == "full") ::mkdir(name.c_str(), 0755);
    if (kind == "full") put(t, name + "/below", "below " + name);
    if (kind == "symlink") (void)!::symlink(("target of " + name).c_str(), name.c_str());
    if (kind == "fifo") ::mkfifo(name.c_str(), 0644);
}

void clear(const std::string& name) {
    ::unlink((name + "/below").c_str());
    if (::unlink(name.c_str()) < 0) ::rmdir(name.c_str());
}

ino_t inode(const char* name) {
    struct stat st {};
    return ::lstat(name, &st) < 0 ? 0 : st.st_ino;
}

const char* whose(ino_t now, ino_t a, ino_t b) {
    return now == 0 ? "nothing" : now == a ? "source" : now == b ? "target" : "stranger";
}

void matrix_with(const Trace& t, unsigned flags, const char* flag_name) {
    for (const char* from : kKinds) {
        for (const char* to : kKinds) {
            ::mkdir("p", 0755);
            ::mkdir("q", 0755);
            make(t, from, "p/a");
            make(t, to, "q/b");
            const ino_t a = inode("p/a");
            const ino_t b = inode("q/b");
            const std::string what = fmt::format("{} over {}{}", from, to, flag_name);
            t.ret(what, ::renameat2(AT_FDCWD, "p/a", AT_FDCWD, "q/b", flags));
            t.print("{}: at source: {}, at target: {}", what, whose(inode("p/a"), a, b),
                    whose(inode("q/b"), a, b));
            t.stat("source", "p/a");
            t.stat("target", "q/b");
            t.list("p", "p");
            t.list("q", "q");
            t.list("below target", "q/b");
            t.list("below source", "p/a");
            if (std::string(from) == "file") t.content("target", "q/b");
            t.stat("p", "p");
            t.stat("q", "q");
            clear("p/a");
            clear("q/b");
            t.ret("p is empty again", ::rmdir("p"));
            t.ret("q is empty again", ::rmdir("q"));
        }
    }
}

const Register plain("rename.matrix", [](const Trace& t) { matrix_with(t, 0, ""); });
const Register noreplace("rename.matrix_noreplace",
                         [](const Trace& t) { matrix_with(t, RENAME_NOREPLACE, " noreplace"); });
const Register exchange("rename.matrix_exchange",
                        [](const Trace& t) { matrix_with(t, RENAME_EXCHANGE, " exchange"); });
const Register both("rename.matrix_bad_flags", [](const Trace& t) {
    matrix_with(t, RENAME_NOREPLACE | RENAME_EXCHANGE, " noreplace exchange");
    put(t, "f", "x");
    t.ret("unknown flag", ::renameat2(AT_FDCWD, "f", AT_FDCWD, "g", 1u << 10));
});

const Register whiteout(
    "rename.whiteout",
    [](const Trace& t) {
        put(t, "f", "x");
        t.ret("renameat2 whiteout", ::renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_WHITEOUT));
        // Refused or done, but never half: the data is under exactly one name.
        t.check("content kept", get("f") + get("g") == "x");
    },
    Needs::kRoot);

const Register odd("rename.odd_paths", [](const Trace& t) {
    ::mkdir("d", 0755);
    ::mkdir("d/sub", 0755);
    put(t, "f", "f");
    t.ret("directory into itself", ::rename("d", "d/new"));
    t.ret("directory into its subtree", ::rename("d", "d/sub/new"));
    t.ret("exchange with own subtree",
          ::renameat2(AT_FDCWD, "d", AT_FDCWD, "d/sub", RENAME_EXCHANGE));
    t.ret("subtree over its parent", ::rename("d/sub", "d"));
    t.ret("to itself", ::rename("f", "f"));
    t.ret("to itself, noreplace", ::renameat2(AT_FDCWD, "f", AT_FDCWD, "f", RENAME_NOREPLACE));
    t.ret("to itself, exchange", ::renameat2(AT_FDCWD, "f", AT_FDCWD, "f", RENAME_EXCHANGE));
    t.ret("directory to itself", ::rename("d", "d"));
    t.ret("hard link", ::link("f", "g"));
    t.ret("over a link of the same file: nothing happens", ::rename("f", "g"));
    t.list("both stay", ".");
    t.stat("f", "f");
    t.ret("exchange of two links", ::renameat2(AT_FDCWD, "f", AT_FDCWD, "g", RENAME_EXCHANGE));
    t.ret("dot", ::rename("d/.", "e"));
    t.ret("dot dot", ::rename("d/..", "e"));
    t.ret("to dot", ::rename("d", "."));
    t.ret("from empty", ::rename("", "e"));
    t.ret("to empty", ::rename("f", ""));
    t.ret("file with a slash", ::rename("f/", "e"));
    t.ret("file to a name with a slash", ::rename("f", "e/"));
    t.ret("directory with slashes", ::rename("d/", "e/"));
    t.ret("from a missing parent", ::rename("no/f", "x"));
    t.ret("to a missing parent", ::rename("f", "no/x"));
    t.ret("below a file", ::rename("f", "g/x"));
    t.ret("to 256 bytes", ::rename("f", std::string(256, 'n').c_str()));
    t.list("in the end", ".");
});

const Register open_files("rename.open_files", [](const Trace& t) {
    put(t, "a", pattern(9000, 1));
    put(t, "b", pattern(5000, 2));
    const int a = ::open("a", O_RDWR | O_CLOEXEC);
    const int b = ::open("b", O_RDWR | O_CLOEXEC);
    t.ret("write before", ::pwrite(a, "before", 6, 100));
    t.ret("a over b", ::rename("a", "b"));
    t.fd_content("the moved one", a);
    t.fd_content("the replaced one", b);
    t.fstat("the replaced one", b);
    t.ret("write to the moved one", ::pwrite(a, "moved", 5, 9000));
    t.ret("write to the replaced one", ::pwrite(b, "replaced", 8, 4096));
    t.content("b by name", "b");
    t.fd_content("the replaced one", b);
    t.ret("truncate the replaced one", ::ftruncate(b, 10));
    t.ret("fchmod of the replaced one", ::fchmod(b, 0600));
    t.ret("fsync of the replaced one", ::fsync(b));
    t.fstat("the replaced one", b);
    t.stat("b by name", "b");
    put(t, "c", "content of c");
    const int c = ::open("c", O_RDWR | O_CLOEXEC);
    t.ret("exchange", ::renameat2(AT_FDCWD, "b", AT_FDCWD, "c", RENAME_EXCHANGE));
    t.ret("write to a", ::pwrite(a, "AAA", 3, 0));
    t.ret("write to c", ::pwrite(c, "CCC", 3, 0));
    t.content("c by name", "c");
    t.content("b by name", "b");
    ::close(a);
    ::close(b);
    ::close(c);
    t.list("in the end", ".");
});

const Register open_below("rename.tree_with_open_files", [](const Trace& t) {
    ::mkdir("tree", 0755);
    ::mkdir("tree/x", 0755);
    ::mkdir("tree/x/y", 0755);
    ::mkdir("other", 0755);
    put(t, "tree/x/y/file", "deep");
    const int fd = ::open("tree/x/y/file", O_RDWR | O_CLOEXEC);
    const int dir = ::open("tree/x/y", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    t.ret("move the tree", ::rename("tree", "other/tree"));
    t.ret("append", ::pwrite(fd, " and moved", 10, 4));
    t.content("by the new path", "other/tree/x/y/file");
    t.stat("by the old path", "tree/x/y/file");
    t.ok("create by the directory's descriptor",
         ::openat(dir, "created", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644));
    t.ret("rename inside by descriptor", ::renameat(dir, "created", dir, "again"));
    t.list("y", "other/tree/x/y");
    t.ret("a new tree under the old name", ::mkdir("tree", 0755));
    t.stat("is another", "tree/x");
    t.ret("back over the new empty one", ::rename("other/tree", "tree"));
    t.content("by the first path again", "tree/x/y/file");
    t.ret("unlink by the first path", ::unlink("tree/x/y/file"));
    t.fd_content("still readable", fd);
    t.fstat("still there", fd);
    t.list("y", "tree/x/y");
});

const Register long_names("rename.long_names", [](const Trace& t) {
    const std::string a(255, 'a');
    const std::string b(255, 'b');
    put(t, "short", "one");
    t.ret("short to long", ::rename("short", a.c_str()));
    t.ret("long to long", ::rename(a.c_str(), b.c_str()));
    t.stat("gone", a);
    t.content("there", b);
    put(t, a, "two");
    t.ret("long over long", ::rename(a.c_str(), b.c_str()));
    t.content("replaced", b);
    put(t, "short", "three");
    t.ret("exchange short and long",
          ::renameat2(AT_FDCWD, "short", AT_FDCWD, b.c_str(), RENAME_EXCHANGE));
    t.content("short", "short");
    t.content("long", b);
    t.ret("noreplace over long",
          ::renameat2(AT_FDCWD, "short", AT_FDCWD, b.c_str(), RENAME_NOREPLACE));
    ::mkdir(a.c_str(), 0755);
    put(t, a + "/" + b, "deep");
    t.ret("long directory to short", ::rename(a.c_str(), "d"));
    t.content("below", "d/" + b);
    t.ret("and to another long", ::rename("d", std::string(255, 'c').c_str()));
    t.content("below", std::string(255, 'c') + "/" + b);
    t.ret("long to short", ::rename(b.c_str(), "last"));
    t.list("in the end", ".");
});

const Register many("rename.back_and_forth", [](const Trace& t) {
    // What an editor and a build do: write a temporary file, rename it over the target.
    put(t, "target", "0");
    const int watcher = ::open("target", O_RDONLY | O_CLOEXEC);
    bool right = true;
    for (int i = 1; i <= 200; i++) {
        const std::string text = std::string(i * 37, static_cast<char>('a' + i % 26));
        put(t, "temporary", text);
        right = right && ::rename("temporary", "target") == 0 && get("target") == text;
        struct stat st {};
        right = right && ::stat("target", &st) == 0 && st.st_nlink == 1 &&
                st.st_size == static_cast<off_t>(text.size());
    }
    t.check("each replacement is seen at once", right);
    t.fd_content("the first one, still open", watcher);
    t.list("in the end", ".");
});

}  // namespace
}  // namespace extencfs::conformance
