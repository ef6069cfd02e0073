// SPDX-License-Identifier: Apache-2.0
// A small EncFS volume with all kinds of files, and a new one beside it to copy it into.
#pragma once

#include <catch2/catch.hpp>

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "encfs/migrate/tree_copy.h"
#include "encfs/migrate/verify.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/volume_for_tests.h"

namespace extencfs::migrate {

using core::AttrChange;
using core::Filesystem;
using core::kRootNode;
using core::NodeId;

inline std::string pattern(std::size_t size, unsigned seed) {
    std::string text(size, '\0');
    for (std::size_t i = 0; i < size; ++i)
        text[i] = static_cast<char>((i * 31 + i / 251 + seed) & 0xff);
    return text;
}

// Makes things in a volume. Owners are changed by root only.
class TreeMaker {
  public:
    explicit TreeMaker(Filesystem& fs) : fs_(fs) {}

    void file(const std::string& path, const std::string& text, mode_t mode = 0644) {
        auto made = fs_.create(parent(path), name(path), 0600, {});
        REQUIRE(made);
        if (!text.empty())
            REQUIRE(fs_.write(made->node, 0, bytes_of(text), core::WriteSource::kCaller, {}));
        finish(made->node, mode);
    }
    void sparse(const std::string& path, std::uint64_t at, std::uint64_t size) {
        auto made = fs_.create(parent(path), name(path), 0600, {});
        REQUIRE(made);
        REQUIRE(
            fs_.write(made->node, at, bytes_of(pattern(5000, 9)), core::WriteSource::kCaller, {}));
        AttrChange change;
        change.size_set = true;
        change.size = size;
        REQUIRE(fs_.setattr(made->node, change));
        finish(made->node, 0640);
    }
    void directory(const std::string& path) {
        auto made = fs_.mkdir(parent(path), name(path), 0700, {});
        REQUIRE(made);
        fs_.forget(made->node, 1);
    }
    // Once everything is in it.
    void finish_directory(const std::string& path, mode_t mode) {
        auto found = find_path(fs_, path);
        REQUIRE(found);
        change(found->node.id(), mode);
    }
    void symlink(const std::string& path, const std::string& target) {
        auto made = fs_.symlink(parent(path), name(path), target, {});
        REQUIRE(made);
        AttrChange times;
        times.mtime_set = times.atime_set = true;
        times.mtime = times.atime = {77, 7};
        REQUIRE(fs_.setattr(made->node, times));
        fs_.forget(made->node, 1);
    }
    void special(const std::string& path, mode_t mode, dev_t device = 0) {
        auto made = fs_.mknod(parent(path), name(path), mode, device, {});
        REQUIRE(made);
        finish(made->node, mode & 07777);
    }
    void link(const std::string& from, const std::string& path) {
        auto found = find_path(fs_, from);
        REQUIRE(found);
        auto made = fs_.link(found->node.id(), parent(path), name(path));
        REQUIRE(made);
        fs_.forget(made->node, 1);
    }
    void xattr(const std::string& path, const std::string& key, const std::string& value) {
        auto found = find_path(fs_, path);
        REQUIRE(found);
        REQUIRE(fs_.set_xattr(found->node.id(), key, bytes_of(value), 0));
    }

  private:
    NodeId parent(const std::string& path) {
        auto found = find_path(fs_, split(path).first);
        REQUIRE(found);
        // Kept until the next one.
        parent_.emplace(std::move(*found));
        return parent_->node.id();
    }
    static std::string name(const std::string& path) { return std::string(split(path).second); }
    void change(NodeId node, mode_t mode) {
        AttrChange change;
        change.mode_set = change.mtime_set = change.atime_set = true;
        change.mode = mode;
        change.atime = {1'111'111'111, 111'111'111 + ++number_};
        change.mtime = {1'222'222'222, 222'222'222 + number_};
        if (::geteuid() == 0) {
            change.uid_set = change.gid_set = true;
            change.uid = 1000 + static_cast<uid_t>(number_ % 3);
            change.gid = 2000;
        }
        REQUIRE(fs_.setattr(node, change));
    }
    void finish(NodeId node, mode_t mode) {
        change(node, mode);
        fs_.forget(node, 1);
    }

    Filesystem& fs_;
    std::optional<Found> parent_;
    long number_ = 0;
};

// tmpfs has user attributes since Linux 6.6.
inline bool keeps_xattrs() {
    const auto dir = fake::ScratchDir::in_memory();
    const auto fs = lower::make_posix_lower_fs();
    return fs->set_xattr(dir.fd(), "user.x", bytes_of("1"), 0).has_value();
}

inline void make_small_tree(Filesystem& fs) {
    TreeMaker make(fs);
    make.file("empty", "");
    make.file("small", "some words\n", 0400);
    make.file("large", pattern(300'000, 1));
    make.sparse("sparse", 200'000, 1'000'000);
    make.directory("d");
    make.directory("d/empty directory");
    make.directory("d/closed");
    make.file("d/set-uid", pattern(5000, 2), 04755);
    make.file("d/closed/\x01 odd \xff\n name", "odd");
    make.file(std::string("d/") + std::string(120, 'n'), "a long name");
    // Longer than a lower name of format 1 takes.
    make.directory(std::string(165, 'l'));
    make.file(std::string(165, 'l') + "/in a long one", "words");
    make.symlink("d/up", "../small");
    make.symlink("broken", "nowhere/" + std::string(150, 'x'));
    make.special("pipe", S_IFIFO | 0622);
    make.special("d/socket", S_IFSOCK | 0755);
    if (::geteuid() == 0) make.special("device", S_IFCHR | 0600, makedev(1, 3));
    make.link("large", "d/another name of it");
    make.link("large", "a third name");
    if (keeps_xattrs()) {
        make.xattr("small", "user.colour", "blue");
        make.xattr("d", "user.of directory", "x");
    }
    // An ACL: user::rw- user:7:r-- group::r-- mask::r-- other::---
    const char acl[] =
        "\2\0\0\0\1\0\6\0\xff\xff\xff\xff\2\0\4\0\7\0\0\0\4\0\4\0\xff\xff\xff\xff"
        "\x10\0\4\0\xff\xff\xff\xff\x20\0\0\0\xff\xff\xff\xff";
    make.xattr("empty", "system.posix_acl_access", std::string(acl, sizeof acl - 1));
    make.xattr("d", "system.posix_acl_default", std::string(acl, sizeof acl - 1));
    make.finish_directory("d/empty directory", 0750);
    make.finish_directory("d/closed", 0500);
    make.finish_directory("d", 02775);
    make.finish_directory(std::string(165, 'l'), 0755);
    make.finish_directory("", 0711);
}

class FilledVolume {
  public:
    explicit FilledVolume(core::LegacyVolume volume)
        : volume_(std::move(volume)), dir_(fake::ScratchDir::in_memory()) {
        auto fs = core::open_fs(lower_, dir_, {.clean = true, .legacy = &volume_});
        make_small_tree(*fs);
        REQUIRE(fs->finish());
    }
    // For reading, as a migration opens it.
    std::unique_ptr<Filesystem> open(LeftOutNames& left_out) {
        lower::Fd root(::fcntl(dir_.fd(), F_DUPFD_CLOEXEC, 0));
        core::Options options;
        options.read_only = options.trust_hints = true;
        options.on_name_left_out = [&left_out](NodeId directory, std::string_view name,
                                               LeftOutNames::Why why) {
            left_out.add(directory, name, why);
        };
        auto fs = Filesystem::open(std::make_unique<core::BorrowedLower>(lower_), std::move(root),
                                   core::legacy_format(volume_), std::move(options));
        REQUIRE(fs);
        return std::move(*fs);
    }
    fake::FaultLowerFs& lower() { return lower_; }
    const fake::ScratchDir& dir() const { return dir_; }

  private:
    core::LegacyVolume volume_;
    fake::FaultLowerFs lower_;
    fake::ScratchDir dir_;
};

// One run of a migration, up to its end or a planned fault. Counts what it copies.
struct Run {
    Outcome<void> outcome;
    std::vector<Problem> problems;
    std::uint64_t skipped = 0;
};

inline Run migrate_once(FilledVolume& old, fake::FaultLowerFs& lower, const fake::ScratchDir& dir,
                        unsigned jobs = 1, std::size_t commit_files = 3) {
    Run run;
    LeftOutNames left_out;
    Progress progress;
    Problems problems;
    auto from = old.open(left_out);
    auto to = core::try_open(lower, dir, {.clean = true});
    if (!to) {
        run.outcome = daemon::fail(daemon::FailureKind::kOther, "cannot open");
        return run;
    }
    auto surveyed = survey(*from, left_out, Depth::kSample, 1, problems, progress);
    REQUIRE(surveyed);
    auto there = Journal::open(lower, dir.fd());
    const Fresh fresh = there && *there ? Fresh::kNo : Fresh::kYes;
    auto journal = there && *there ? Outcome<Journal>(std::move(**there))
                                   : Journal::create(lower, dir.fd(), 1);
    if (!journal) {
        run.outcome = std::unexpected(journal.error());
    } else {
        const Volumes volumes{*from, **to, lower, dir.fd(), left_out};
        Problems told;
        const CopyOptions options{
            .jobs = jobs, .commit_files = commit_files, .commit_every = std::chrono::hours(1)};
        run.outcome =
            TreeCopy(volumes, *journal, surveyed->links, fresh, options, told, progress).run();
        run.problems = told.all();
        run.skipped = progress.skipped;
    }
    CHECK(from->node_count() == 1);
    CHECK((*to)->node_count() == 1);
    (void)(*to)->finish();
    return run;
}

// In words, empty where the new volume has all of the old one.
inline std::string differences(FilledVolume& old, const fake::ScratchDir& dir,
                               const std::vector<Problem>& known = {}) {
    LeftOutNames left_out;
    Progress progress;
    Problems problems;
    const auto real = lower::make_posix_lower_fs();
    auto from = old.open(left_out);
    auto to = core::open_fs(*real, dir, {.clean = true});
    auto surveyed = survey(*from, left_out, Depth::kSample, 1, problems, progress);
    REQUIRE(surveyed);
    Problems found;
    (void)verify({*from, *to, *real, dir.fd(), left_out}, surveyed->links, 1, known, found,
                 progress);
    std::string text;
    for (const Problem& problem : found.all()) text += problem.path + ": " + problem.what + "\n";
    CHECK(to->finish());
    return text;
}

}  // namespace extencfs::migrate
