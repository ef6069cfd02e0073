// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "encfs/lower/lower_fs.h"
#include "encfs/lower/posix_lower_fs.h"
#include "tests/fake/scratch_dir.h"

using namespace extencfs;
using namespace extencfs::lower;
using fake::ScratchDir;

namespace {

template <typename T>
int error_of(const Result<T>& result) {
    return result ? 0 : result.error().value;
}

Fd make_file(LowerFs& fs, int dirfd, const std::string& name, std::string_view content = "") {
    auto file = fs.open(dirfd, name, O_CREAT | O_EXCL | O_RDWR, 0644);
    REQUIRE(file);
    REQUIRE(fs.pwrite(file->get(), bytes_of(content), 0));
    return std::move(*file);
}

std::string content_of(LowerFs& fs, int dirfd, const std::string& name) {
    const auto file = fs.open(dirfd, name, O_RDONLY, 0);
    REQUIRE(file);
    std::string text(100, '?');
    const auto size = fs.pread(file->get(), std::as_writable_bytes(std::span(text)), 0);
    REQUIRE(size);
    text.resize(*size);
    return text;
}

std::set<std::string> names_in(LowerFs& fs, int dirfd) {
    std::set<std::string> names;
    REQUIRE(fs.list(dirfd, [&](const DirEntry& e) { return names.emplace(e.name).second; }));
    return names;
}

bool noatime(const Fd& fd) {
    return (::fcntl(fd.get(), F_GETFL) & O_NOATIME) != 0;
}

}  // namespace

TEST_CASE("names that are not one component are refused", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const int d = dir.fd();
    REQUIRE(fs->mkdir(d, "sub", 0755));
    make_file(*fs, d, "ok");
    const std::string nul("a\0b", 3);
    for (const std::string& bad : {std::string(), std::string("."), std::string(".."),
                                   std::string("sub/x"), std::string("/etc"), nul}) {
        INFO("name '" << bad << "'");
        const struct timespec now[2] = {{0, UTIME_NOW}, {0, UTIME_NOW}};
        CHECK(error_of(fs->open(d, bad, O_RDONLY, 0)) == EINVAL);
        CHECK(error_of(fs->stat_at(d, bad)) == EINVAL);
        CHECK(error_of(fs->mkdir(d, bad, 0755)) == EINVAL);
        CHECK(error_of(fs->mknod(d, bad, S_IFIFO | 0600, 0)) == EINVAL);
        CHECK(error_of(fs->symlink("t", d, bad)) == EINVAL);
        CHECK(error_of(fs->readlink(d, bad)) == EINVAL);
        CHECK(error_of(fs->unlink(d, bad)) == EINVAL);
        CHECK(error_of(fs->rmdir(d, bad)) == EINVAL);
        CHECK(error_of(fs->rename(d, bad, d, "n", RenameMode::kReplace)) == EINVAL);
        CHECK(error_of(fs->rename(d, "ok", d, bad, RenameMode::kNoReplace)) == EINVAL);
        CHECK(error_of(fs->link(d, bad, d, "n")) == EINVAL);
        CHECK(error_of(fs->link(d, "ok", d, bad)) == EINVAL);
        CHECK(error_of(fs->chown_at(d, bad, 0, 0)) == EINVAL);
        CHECK(error_of(fs->chmod_at(d, bad, 0600)) == EINVAL);
        CHECK(error_of(fs->utimens_at(d, bad, now)) == EINVAL);
        CHECK(error_of(fs->get_xattr(d, bad, "user.a")) == EINVAL);
        CHECK(error_of(fs->set_xattr(d, bad, "user.a", bytes_of("v"), 0)) == EINVAL);
        CHECK(error_of(fs->remove_xattr(d, bad, "user.a")) == EINVAL);
        CHECK(error_of(fs->list_xattr(d, bad)) == EINVAL);
        CHECK(error_of(fs->link_tmpfile(d, d, bad)) == EINVAL);
    }
    CHECK(names_in(*fs, d) == std::set<std::string>{"ok", "sub"});
}

TEST_CASE("open is close-on-exec, without atime where bytes are read", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const auto made = make_file(*fs, dir.fd(), "f", "hello");
    CHECK((::fcntl(made.get(), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(noatime(made));
    CHECK(noatime(*fs->open(dir.fd(), "f", O_RDONLY, 0)));
    CHECK(noatime(*fs->open(dir.fd(), "f", O_RDWR | O_CREAT, 0600)));
    CHECK_FALSE(noatime(*fs->open(dir.fd(), "f", O_WRONLY, 0)));
    CHECK(error_of(fs->open(dir.fd(), "f", O_RDWR | O_CREAT | O_EXCL, 0600)) == EEXIST);
    CHECK(error_of(fs->open(dir.fd(), "none", O_RDONLY, 0)) == ENOENT);
    CHECK(error_of(fs->open(dir.fd(), "f", O_RDONLY | O_DIRECTORY, 0)) == ENOTDIR);
    CHECK(error_of(fs->open(-1, "f", O_RDONLY, 0)) == EBADF);
    CHECK(error_of(fs->open(dir.fd(), std::string(300, 'x'), O_RDONLY, 0)) == ENAMETOOLONG);
    // Flags that were given stay.
    const auto append =
        fs->open(dir.fd(), "log", O_CREAT | O_EXCL | O_RDWR | O_APPEND | O_NONBLOCK, 0600);
    CHECK((::fcntl(append->get(), F_GETFL) & (O_APPEND | O_NONBLOCK)) == (O_APPEND | O_NONBLOCK));
}

TEST_CASE("another user's file opens although atime may not be left alone", "[lower]") {
    if (::geteuid() != 0) return;
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    make_file(*fs, dir.fd(), "f", "hello");
    REQUIRE(::fchmod(dir.fd(), 0755) == 0);
    int error = -1;
    bool without = false;
    // The file system user is each thread's own.
    std::thread([&] {
        (void)::syscall(SYS_setfsuid, 65534);
        const auto file = fs->open(dir.fd(), "f", O_RDONLY, 0);
        error = error_of(file);
        without = file && noatime(*file);
    }).join();
    CHECK(error == 0);
    CHECK_FALSE(without);
}

TEST_CASE("a listing leaves the directory's atime alone, and another user's lists too", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    make_file(*fs, dir.fd(), "f");
    // Older than the last change: with relatime too, a reading would be noted.
    const struct timespec old[2] = {{1, 0}, {2, 0}};
    REQUIRE(fs->utimens(dir.fd(), old));
    CHECK(names_in(*fs, dir.fd()) == std::set<std::string>{"f"});
    CHECK(fs->stat(dir.fd())->st_atim.tv_sec == 1);
    if (::geteuid() != 0) return;
    REQUIRE(::fchmod(dir.fd(), 0755) == 0);
    int error = -1;
    std::thread([&] {
        (void)::syscall(SYS_setfsuid, 65534);
        error = error_of(fs->list(dir.fd(), [](const DirEntry&) { return true; }));
    }).join();
    CHECK(error == 0);
}

TEST_CASE("symlinks are not followed", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const int d = dir.fd();
    make_file(*fs, d, "target", "secret");
    REQUIRE(fs->symlink("target", d, "link"));
    CHECK(*fs->readlink(d, "link") == "target");
    CHECK(error_of(fs->readlink(d, "target")) == EINVAL);
    CHECK(error_of(fs->open(d, "link", O_RDONLY, 0)) == ELOOP);
    CHECK(error_of(fs->open(d, "link", O_RDWR | O_CREAT, 0600)) == ELOOP);
    CHECK(S_ISLNK(fs->stat_at(d, "link")->st_mode));
    REQUIRE(fs->link(d, "link", d, "link2"));
    CHECK(S_ISLNK(fs->stat_at(d, "link2")->st_mode));
    CHECK(fs->stat_at(d, "target")->st_nlink == 1);

    const auto before = *fs->stat_at(d, "target");
    CHECK(error_of(fs->chmod_at(d, "link", 0600)) == EOPNOTSUPP);
    CHECK(error_of(chmod_by_proc(d, "link", 0600)) == EOPNOTSUPP);
    const struct timespec times[2] = {{1000, 0}, {2000, 5}};
    REQUIRE(fs->utimens_at(d, "link", times));
    CHECK(fs->stat_at(d, "link")->st_mtim.tv_sec == 2000);
    if (::geteuid() == 0) {
        REQUIRE(fs->chown_at(d, "link", 12, 34));
        CHECK(fs->stat_at(d, "link")->st_uid == 12);
    }
    const auto after = *fs->stat_at(d, "target");
    CHECK(after.st_mode == before.st_mode);
    CHECK(after.st_uid == before.st_uid);
    CHECK(after.st_mtim.tv_sec == before.st_mtim.tv_sec);

    const std::string longest(4095, 't');
    if (fs->symlink(longest, d, "long")) CHECK(*fs->readlink(d, "long") == longest);
    CHECK(error_of(fs->symlink("t", d, "link")) == EEXIST);
}

TEST_CASE("mode by name, by either way", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    make_file(*fs, dir.fd(), "f");
    REQUIRE(fs->chmod_at(dir.fd(), "f", 0604));
    CHECK((fs->stat_at(dir.fd(), "f")->st_mode & 07777) == 0604);
    REQUIRE(chmod_by_proc(dir.fd(), "f", 0000));
    CHECK((fs->stat_at(dir.fd(), "f")->st_mode & 07777) == 0);
    CHECK(error_of(fs->chmod_at(dir.fd(), "none", 0600)) == ENOENT);
    CHECK(error_of(chmod_by_proc(dir.fd(), "none", 0600)) == ENOENT);
}

TEST_CASE("a file without a name gets one", "[lower]") {
    for (const auto& dir : {ScratchDir::on_disk(), ScratchDir::in_memory()}) {
        const auto fs = make_posix_lower_fs();
        const auto file = fs->open_tmpfile(dir.fd(), 0640);
        if (error_of(file) == EOPNOTSUPP) continue;
        REQUIRE(file);
        CHECK(noatime(*file));
        CHECK(fs->stat(file->get())->st_nlink == 0);
        CHECK((fs->stat(file->get())->st_mode & 0700) == 0600);
        REQUIRE(fs->pwrite(file->get(), bytes_of("text"), 0));
        CHECK(names_in(*fs, dir.fd()).empty());
        REQUIRE(fs->link_tmpfile(file->get(), dir.fd(), "named"));
        CHECK(content_of(*fs, dir.fd(), "named") == "text");
        CHECK(error_of(fs->link_tmpfile(file->get(), dir.fd(), "named")) == EEXIST);
        CHECK(error_of(fs->link_tmpfile(-1, dir.fd(), "x")) == EBADF);
    }
}

TEST_CASE("rename in its modes", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const int d = dir.fd();
    REQUIRE(fs->mkdir(d, "sub", 0755));
    const auto sub = fs->open(d, "sub", O_RDONLY | O_DIRECTORY, 0);
    REQUIRE(sub);
    make_file(*fs, d, "a", "A");
    make_file(*fs, d, "b", "B");
    CHECK(error_of(fs->rename(d, "a", d, "b", RenameMode::kNoReplace)) == EEXIST);
    REQUIRE(fs->rename(d, "a", d, "b", RenameMode::kExchange));
    CHECK(content_of(*fs, d, "a") == "B");
    CHECK(content_of(*fs, d, "b") == "A");
    CHECK(error_of(fs->rename(d, "a", d, "none", RenameMode::kExchange)) == ENOENT);
    REQUIRE(fs->rename(d, "a", d, "b", RenameMode::kReplace));
    CHECK(content_of(*fs, d, "b") == "B");
    REQUIRE(fs->rename(d, "b", sub->get(), "c", RenameMode::kNoReplace));
    CHECK(names_in(*fs, d) == std::set<std::string>{"sub"});
    CHECK(names_in(*fs, sub->get()) == std::set<std::string>{"c"});
    CHECK(error_of(fs->rename(d, "gone", d, "x", RenameMode::kReplace)) == ENOENT);
}

TEST_CASE("making and removing", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const int d = dir.fd();
    REQUIRE(fs->mkdir(d, "sub", 0700));
    CHECK(error_of(fs->mkdir(d, "sub", 0700)) == EEXIST);
    REQUIRE(fs->mknod(d, "pipe", S_IFIFO | 0600, 0));
    CHECK(S_ISFIFO(fs->stat_at(d, "pipe")->st_mode));
    make_file(*fs, d, "f");
    REQUIRE(fs->link(d, "f", d, "g"));
    CHECK(fs->stat_at(d, "g")->st_nlink == 2);
    CHECK(error_of(fs->link(d, "f", d, "g")) == EEXIST);
    CHECK(error_of(fs->unlink(d, "sub")) == EISDIR);
    CHECK(error_of(fs->rmdir(d, "f")) == ENOTDIR);
    CHECK(error_of(fs->unlink(d, "none")) == ENOENT);
    const auto sub = fs->open(d, "sub", O_PATH | O_DIRECTORY, 0);
    make_file(*fs, sub->get(), "inside");
    CHECK(error_of(fs->rmdir(d, "sub")) == ENOTEMPTY);
    REQUIRE(fs->unlink(sub->get(), "inside"));
    REQUIRE(fs->rmdir(d, "sub"));
    REQUIRE(fs->unlink(d, "f"));
    REQUIRE(fs->unlink(d, "g"));
    REQUIRE(fs->unlink(d, "pipe"));
    CHECK(names_in(*fs, d).empty());
    CHECK(error_of(fs->stat_at(d, "f")) == ENOENT);
}

TEST_CASE("listing of a large directory", "[lower]") {
    constexpr int kFiles = 10'000;
    const auto dir = ScratchDir::in_memory();
    const auto fs = make_posix_lower_fs();
    std::set<std::string> made;
    for (int i = 0; i < kFiles; ++i) {
        const auto name = "a-name-of-some-length-" + std::to_string(i);
        REQUIRE(fs->mknod(dir.fd(), name, S_IFREG | 0600, 0));
        made.insert(name);
    }
    CHECK(names_in(*fs, dir.fd()) == made);
    // From the start every time, also while another listing of the same descriptor is under way.
    std::set<std::string> inner;
    int outer = 0;
    REQUIRE(fs->list(dir.fd(), [&](const DirEntry& e) {
        CHECK(e.type == DT_REG);
        if (++outer == 10) inner = names_in(*fs, dir.fd());
        return made.contains(std::string(e.name));
    }));
    CHECK(outer == kFiles);
    CHECK(inner == made);

    std::vector<std::set<std::string>> seen(4);
    std::vector<std::thread> threads;
    for (auto& names : seen)
        threads.emplace_back([&] {
            for (int round = 0; round < 5; ++round) {
                names.clear();
                (void)fs->list(dir.fd(),
                               [&](const DirEntry& e) { return names.emplace(e.name).second; });
            }
        });
    for (auto& thread : threads) thread.join();
    for (const auto& names : seen) CHECK(names == made);

    int few = 0;
    REQUIRE(fs->list(dir.fd(), [&](const DirEntry&) { return ++few < 3; }));
    CHECK(few == 3);
}

TEST_CASE("listing says inode and type, and fails off a directory", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    REQUIRE(fs->mkdir(dir.fd(), "sub", 0755));
    const auto file = make_file(*fs, dir.fd(), "f");
    int entries = 0;
    REQUIRE(fs->list(dir.fd(), [&](const DirEntry& e) {
        ++entries;
        CHECK(e.ino == fs->stat_at(dir.fd(), std::string(e.name))->st_ino);
        CHECK(e.type == (e.name == "f" ? DT_REG : DT_DIR));
        return true;
    }));
    CHECK(entries == 2);
    const auto none = [](const DirEntry&) { return true; };
    CHECK(error_of(fs->list(file.get(), none)) == ENOTDIR);
    CHECK(error_of(fs->list(-1, none)) == EBADF);
}

TEST_CASE("a listing goes on after any entry", "[lower]") {
    for (const auto& dir : {ScratchDir::on_disk(), ScratchDir::in_memory()}) {
        const auto fs = make_posix_lower_fs();
        for (int i = 0; i < 3'000; ++i)  // more than one buffer holds
            REQUIRE(fs->mknod(dir.fd(), "a-name-of-some-length-" + std::to_string(i),
                              S_IFREG | 0600, 0));
        std::vector<std::pair<std::string, std::uint64_t>> all;
        REQUIRE(fs->list(dir.fd(), [&](const DirEntry& e) {
            all.emplace_back(e.name, e.cookie);
            return true;
        }));
        REQUIRE(all.size() == 3'000);
        for (std::size_t i = 0; i < all.size(); i += 97) {
            REQUIRE(all[i].second != 0);
            std::vector<std::string> rest;
            REQUIRE(fs->list_from(dir.fd(), all[i].second, [&](const DirEntry& e) {
                rest.emplace_back(e.name);
                return rest.size() < 5;
            }));
            REQUIRE(rest.size() == std::min<std::size_t>(5, all.size() - i - 1));
            for (std::size_t k = 0; k < rest.size(); ++k) CHECK(rest[k] == all[i + 1 + k].first);
        }
        int after_last = 0;
        REQUIRE(fs->list_from(dir.fd(), all.back().second,
                              [&](const DirEntry&) { return ++after_last > 0; }));
        CHECK(after_last == 0);
    }
}

TEST_CASE("opening a fifo does not wait for its other end") {
    const auto dir = ScratchDir::in_memory();
    const auto fs = make_posix_lower_fs();
    const std::string path = dir.path("fifo");
    REQUIRE(::mkfifo(path.c_str(), 0600) == 0);
    std::atomic<bool> opened{false}, waited{false};
    // Lets it go on, after a while.
    std::thread other([&] {
        for (int i = 0; i < 5000 && !opened; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        waited = !opened;
        const Fd end(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
        while (!opened) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    CHECK(fs->open(dir.fd(), "fifo", O_RDONLY, 0));
    opened = true;
    other.join();
    CHECK_FALSE(waited);
}
