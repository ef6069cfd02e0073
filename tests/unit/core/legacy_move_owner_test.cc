// SPDX-License-Identifier: Apache-2.0
// Renames in EncFS volumes that would change what belongs to somebody else: they are refused before
// anything is changed, and a journal that is there all the same needs nobody else's rights.
#include <catch2/catch.hpp>

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <set>

#include "encfs/core/legacy_move.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

// Whose rights some inodes deny, as the kernel would to an ordinary user.
class OthersLower final : public BorrowedLower {
    template <typename T>
    using R = lower::Result<T>;
    using Name = const std::string&;

  public:
    using BorrowedLower::BorrowedLower;
    std::set<ino_t> unwritable;  // files and directories
    std::set<ino_t> not_owned;   // whose times and modes are not ours

    R<lower::Fd> open(int d, Name n, int flags, mode_t mode) override {
        if ((flags & O_ACCMODE) != O_RDONLY && unwritable.contains(ino(stat_at(d, n))))
            return std::unexpected(lower::Errno{EACCES});
        return BorrowedLower::open(d, n, flags, mode);
    }
    R<void> chmod_at(int d, Name n, mode_t mode) override {
        if (not_owned.contains(ino(stat_at(d, n)))) return std::unexpected(lower::Errno{EPERM});
        return BorrowedLower::chmod_at(d, n, mode);
    }
    R<void> utimens(int fd, const struct timespec times[2]) override {
        if (not_owned.contains(ino(stat(fd)))) return std::unexpected(lower::Errno{EPERM});
        return BorrowedLower::utimens(fd, times);
    }
    R<void> rename(int d, Name n, int e, Name m, lower::RenameMode mode) override {
        if (unwritable.contains(ino(stat(d))) || unwritable.contains(ino(stat(e))))
            return std::unexpected(lower::Errno{EACCES});
        return BorrowedLower::rename(d, n, e, m, mode);
    }
    R<void> may_change_names(int d) override {
        if (unwritable.contains(ino(stat(d)))) return std::unexpected(lower::Errno{EACCES});
        return {};
    }

  private:
    static ino_t ino(const R<struct stat>& is) { return is ? is->st_ino : 0; }
};

// a/b/deep, a/mine, a/theirs
class SharedTree {
  public:
    explicit SharedTree(bool files)
        : volume_(legacy_volume({1024, 0, 0, true, true, false}, legacy::NameScheme::kBlock, true,
                                files)) {
        REQUIRE(open());
        auto a = fs_->mkdir(kRootNode, "a", 0755, {});
        REQUIRE(a);
        auto b = fs_->mkdir(a->node, "b", 0755, {});
        REQUIRE(b);
        directory_ = b->attr.st_ino;
        file(a->node, "mine");
        theirs_ = file(a->node, "theirs");
        file(b->node, "deep");
    }
    // The file, or the directory b, becomes somebody else's.
    void deny_file() { deny(theirs_); }
    void deny_directory() { deny(directory_); }
    void take_times() { lower_.not_owned = {theirs_, directory_}; }

    Result<void> open() {
        fs_.reset();
        auto fs = try_open(lower_, dir_, {.clean = true, .legacy = &volume_});
        if (!fs) return std::unexpected(fs.error());
        fs_ = std::move(*fs);
        return {};
    }
    Result<void> rename() {
        return fs_->rename(kRootNode, "a", kRootNode, "z", lower::RenameMode::kReplace);
    }
    bool has_journal() { return under_.stat_at(dir_.fd(), kMoveJournal).has_value(); }
    fake::FaultLowerFs& lower() { return under_; }
    std::string header_of_theirs() const {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path())) {
            struct stat is {};
            if (::stat(entry.path().c_str(), &is) != 0 || is.st_ino != theirs_) continue;
            std::string header(8, '\0');
            std::ifstream(entry.path(), std::ios::binary).read(header.data(), 8);
            return header;
        }
        return {};
    }
    // Whether everything is below this directory, and can be read.
    bool whole_at(const std::string& top) {
        const auto at = fs_->lookup(kRootNode, top);
        if (!at) return false;
        const auto b = fs_->lookup(at->node, "b");
        return b && reads(at->node, "mine") && reads(at->node, "theirs") && reads(b->node, "deep");
    }

  private:
    void deny(ino_t ino) { lower_.unwritable = lower_.not_owned = {ino}; }
    ino_t file(NodeId parent, const std::string& name) {
        auto made = fs_->create(parent, name, 0644, {});
        REQUIRE(made);
        REQUIRE(fs_->write(made->node, 0, bytes_of(name), WriteSource::kCaller, {}));
        return made->attr.st_ino;
    }
    bool reads(NodeId parent, const std::string& name) {
        const auto at = fs_->lookup(parent, name);
        if (!at) return false;
        IoBuffer buffer;
        const auto got = fs_->read(at->node, 0, 100, buffer);
        return got && std::ranges::equal(*got, bytes_of(name));
    }

    LegacyVolume volume_;
    fake::ScratchDir dir_ = fake::ScratchDir::in_memory();
    fake::FaultLowerFs under_;
    OthersLower lower_{under_};
    std::unique_ptr<Filesystem> fs_;
    ino_t theirs_ = 0, directory_ = 0;
};

void check_refused(SharedTree& tree) {
    tree.lower().forget_calls();
    const auto renamed = tree.rename();
    REQUIRE_FALSE(renamed);
    CHECK(errno_of(renamed.error()) == EACCES);
    CHECK(tree.lower().count(fake::Calls::named("pwrite")) == 0);
    CHECK_FALSE(tree.has_journal());
    CHECK(tree.whole_at("a"));
    REQUIRE(tree.open());
    CHECK(tree.whole_at("a"));
}

}  // namespace

TEST_CASE("a rename in an EncFS volume that would write another owner's file does not begin") {
    SharedTree tree(true);
    tree.deny_file();
    check_refused(tree);
}

TEST_CASE(
    "a rename in an EncFS volume that would change another owner's directory does not begin") {
    for (const bool files : {false, true}) {
        SharedTree tree(files);
        tree.deny_directory();
        check_refused(tree);
    }
}

TEST_CASE("times that are not ours to keep do not hinder a rename in an EncFS volume") {
    SharedTree tree(true);
    tree.take_times();
    REQUIRE(tree.rename());
    CHECK_FALSE(tree.has_journal());
    CHECK(tree.whole_at("z"));
}

TEST_CASE("a move in an EncFS volume is taken back without rights to what it did not change") {
    int settled = 0;
    for (std::uint64_t call = 1; call < 100; ++call) {
        INFO("killed at call " << call);
        SharedTree tree(true);
        const std::string header = tree.header_of_theirs();
        REQUIRE(header.size() == 8);
        tree.lower().die_at(call);
        (void)tree.rename();
        const bool died = tree.lower().dead();
        tree.lower().revive();
        if (!died) break;
        if (!tree.has_journal() || tree.header_of_theirs() != header) continue;
        tree.deny_file();
        REQUIRE(tree.open());
        CHECK_FALSE(tree.has_journal());
        CHECK(tree.whole_at("a"));
        ++settled;
    }
    CHECK(settled > 0);
}
