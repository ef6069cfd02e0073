// SPDX-License-Identifier: Apache-2.0
// The lower calls that a file system makes, in words: for tests of their order.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/unit/core/script.h"
#include "tests/unit/core/volume_for_tests.h"

namespace extencfs::core {

// Each call that changes or syncs, in words, as it begins: "pwrite ino:7 0+64", "fdatasync
// extencfs.dir".
class Recorded final : public BorrowedLower {
    template <typename T>
    using R = lower::Result<T>;
    using Name = const std::string&;

  public:
    using BorrowedLower::BorrowedLower;

    std::vector<std::string> calls;
    // Where `what` comes first in calls[from...]; their number where it does not.
    std::size_t find(const std::string& what, std::size_t from = 0) const {
        while (from < calls.size() && !calls[from].starts_with(what)) ++from;
        return from;
    }
    bool has(const std::string& what, std::size_t from = 0) const {
        return find(what, from) < calls.size();
    }
    // Files and directories go by inode number, side files and id files by name.
    static std::string called(const struct stat& is) { return "ino:" + std::to_string(is.st_ino); }
    static std::string called(const std::string& path) {
        struct stat is {};
        REQUIRE(::lstat(path.c_str(), &is) == 0);
        return called(is);
    }
    std::string text() const {
        std::string all;
        for (const auto& call : calls) all += call + "\n";
        return all;
    }

    R<void> pwrite(int fd, Bytes in, std::uint64_t off) override {
        note("pwrite " + name_of_fd(fd) + " " + std::to_string(off) + "+" +
             std::to_string(in.size()));
        return BorrowedLower::pwrite(fd, in, off);
    }
    R<void> truncate(int fd, std::uint64_t size) override {
        note("truncate " + name_of_fd(fd) + " " + std::to_string(size));
        return BorrowedLower::truncate(fd, size);
    }
    R<void> fallocate(int fd, int mode, std::uint64_t off, std::uint64_t size) override {
        note("fallocate " + name_of_fd(fd));
        return BorrowedLower::fallocate(fd, mode, off, size);
    }
    R<void> rename(int d, Name n, int e, Name m, lower::RenameMode mode) override {
        note("rename");
        return BorrowedLower::rename(d, n, e, m, mode);
    }
    R<void> link(int d, Name n, int e, Name m) override {
        note("link");
        return BorrowedLower::link(d, n, e, m);
    }
    R<void> symlink(Name target, int d, Name n) override {
        note("symlink");
        return BorrowedLower::symlink(target, d, n);
    }
    R<void> unlink(int d, Name n) override {
        note("unlink " + n);
        return BorrowedLower::unlink(d, n);
    }
    R<void> fdatasync(int fd) override {
        note("fdatasync " + name_of_fd(fd));
        return BorrowedLower::fdatasync(fd);
    }
    R<void> fsync(int fd) override {
        note("fsync " + name_of_fd(fd));
        return BorrowedLower::fsync(fd);
    }
    R<void> syncfs(int fd) override {
        note("syncfs");
        return BorrowedLower::syncfs(fd);
    }

  private:
    void note(std::string call) { calls.push_back(std::move(call)); }
    static std::string name_of_fd(int fd) {
        std::error_code none;
        const std::string name =
            std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd), none).filename();
        // Not that of a file that was made without one: it stays what it was called then.
        for (const char* own : {volume::kDirFileName, volume::kLongSidePrefix})
            if (name.starts_with(own)) return name;
        struct stat is {};
        return ::fstat(fd, &is) == 0 ? called(is) : name;
    }
};

struct Watched {
    fake::ScratchDir dir = fake::ScratchDir::in_memory();
    std::unique_ptr<lower::LowerFs> real = lower::make_posix_lower_fs();
    Recorded lower{*real};
    std::unique_ptr<Filesystem> fs = open_fs(lower, dir, {.clean = true});
    Session session{*fs};

    NodeId node(const std::string& path) {
        auto found = session.node(path);
        REQUIRE(found);
        return *found;
    }
    NodeId directory(const std::string& path) {
        REQUIRE(session.keep(fs->mkdir(node(parent_of(path)), name_of(path), 0755, {})));
        return node(path);
    }
    NodeId file(const std::string& path, std::size_t size) {
        REQUIRE(session.keep(fs->create(node(parent_of(path)), name_of(path), 0644, {})));
        if (size != 0) write(node(path), 0, size);
        return node(path);
    }
    void write(NodeId node, std::uint64_t off, std::size_t size) {
        const std::string data = stamped(1, off, size);
        REQUIRE(fs->write(node, off, bytes_of(data), WriteSource::kCaller, {}));
    }
    void resize(NodeId node, std::uint64_t size) {
        AttrChange change;
        change.size_set = true;
        change.size = size;
        REQUIRE(fs->setattr(node, change));
    }
    // What lies at `path` as the calls call it, and its lower name.
    std::string called(const std::string& path) {
        auto attr = fs->getattr(node(path));
        REQUIRE(attr);
        return Recorded::called(*attr);
    }
    std::string below(const std::string& path) {
        auto attr = fs->getattr(node(path));
        REQUIRE(attr);
        for (const auto& entry : std::filesystem::recursive_directory_iterator(dir.path())) {
            struct stat is {};
            if (::lstat(entry.path().c_str(), &is) == 0 && is.st_ino == attr->st_ino)
                return entry.path().filename();
        }
        FAIL(path);
        return {};
    }
    void forget_calls() { lower.calls.clear(); }
    ~Watched() { session.forget_all(); }
};

}  // namespace extencfs::core
