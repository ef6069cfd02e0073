// SPDX-License-Identifier: Apache-2.0
// The states that a power loss leaves: for small histories exactly the set that is documented.
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <functional>
#include <set>

#include "tests/fake/fault_lower_fs.h"
#include "tests/fake/scratch_dir.h"
#include "tests/unit/lower/tree_of.h"

using namespace extencfs;
using namespace extencfs::lower;
using fake::FaultLowerFs;
using fake::kPage;
using fake::ScratchDir;

namespace {

constexpr int kSeeds = 300;

// A directory and the file system under test on it, for one crash.
struct Machine {
    ScratchDir dir = ScratchDir::in_memory();
    FaultLowerFs fs;
    int root() const { return dir.fd(); }

    Fd create(const std::string& name, const std::string& text = "") {
        auto file = fs.open(root(), name, O_CREAT | O_EXCL | O_RDWR, 0600);
        REQUIRE(file);
        write(*file, text);
        return std::move(*file);
    }
    Fd open(const std::string& name) {
        auto file = fs.open(root(), name, O_RDWR, 0);
        REQUIRE(file);
        return std::move(*file);
    }
    void write(const Fd& file, const std::string& text, std::uint64_t at = 0) {
        REQUIRE(fs.pwrite(file.get(), bytes_of(text), at));
    }
    std::string text(const std::string& name) {
        const auto file = open(name);
        std::string text(16 * kPage, '?');
        text.resize(*fs.pread(file.get(), std::as_writable_bytes(std::span(text)), 0));
        return text;
    }
};

// One letter for each page ('0' for zeros), and what does not fill one in full.
std::string pages(const std::string& text) {
    std::string letters;
    for (std::size_t at = 0; at < text.size(); at += kPage) {
        const auto page = text.substr(at, kPage);
        const bool alike = page.find_first_not_of(page[0]) == page.npos;
        letters += alike ? (page[0] == '\0' ? '0' : page[0]) : '?';
    }
    return letters;
}

std::string page_of(char letter) {
    return std::string(kPage, letter);
}

// What `look` sees after `work` and a power loss, over many seeds.
std::set<std::string> outcomes(const std::function<void(Machine&)>& prepare,
                               const std::function<void(Machine&)>& work,
                               const std::function<std::string(Machine&)>& look) {
    std::set<std::string> seen;
    for (int seed = 0; seed < kSeeds; ++seed) {
        Machine machine;
        prepare(machine);
        machine.fs.track_power_loss();
        work(machine);
        machine.fs.power_cut(static_cast<std::uint64_t>(seed));
        seen.insert(look(machine));
    }
    return seen;
}

std::string names(Machine& machine) {
    std::string all;
    for (const auto& [name, what] : tree_of(machine.dir.path()))
        all += (all.empty() ? "" : " ") + name;
    return all;
}

std::string file_pages(Machine& machine) {
    return pages(machine.text("f"));
}

void two_pages(Machine& m) {
    m.create("f", page_of('a') + page_of('b'));
}

using Outcomes = std::set<std::string>;

}  // namespace

TEST_CASE("unsynced pages are lost one by one", "[fake]") {
    CHECK(outcomes(
              two_pages, [](Machine& m) { m.write(m.open("f"), page_of('A') + page_of('B')); },
              file_pages) == Outcomes{"ab", "aB", "Ab", "AB"});
    // Each of several versions can be the one that is left.
    CHECK(outcomes(
              two_pages,
              [](Machine& m) {
                  const auto file = m.open("f");
                  for (const char c : {'1', '2', '3'}) m.write(file, page_of(c));
              },
              file_pages) == Outcomes{"ab", "1b", "2b", "3b"});
}

TEST_CASE("synced pages stay", "[fake]") {
    for (const std::string how : {"fdatasync", "fsync", "syncfs"}) {
        INFO(how);
        CHECK(outcomes(
                  two_pages,
                  [&](Machine& m) {
                      const auto file = m.open("f");
                      m.write(file, page_of('A'));
                      if (how == "fdatasync") REQUIRE(m.fs.fdatasync(file.get()));
                      if (how == "fsync") REQUIRE(m.fs.fsync(file.get()));
                      if (how == "syncfs") REQUIRE(m.fs.syncfs(m.root()));
                      m.write(file, page_of('B'), kPage);
                  },
                  file_pages) == Outcomes{"Ab", "AB"});
    }
    // A sync of another file, or one that failed, keeps nothing.
    CHECK(outcomes([](Machine& m) { two_pages(m), m.create("other"); },
                   [](Machine& m) {
                       const auto file = m.open("f");
                       m.write(file, page_of('A'));
                       REQUIRE(m.fs.fsync(m.open("other").get()));
                       m.fs.fail_at(1, EIO);
                       REQUIRE_FALSE(m.fs.fsync(file.get()));
                   },
                   file_pages) == Outcomes{"ab", "Ab"});
}

TEST_CASE("sizes come back in order, with or without the pages", "[fake]") {
    CHECK(outcomes(
              two_pages,
              [](Machine& m) {
                  const auto file = m.open("f");
                  m.write(file, page_of('c'), 2 * kPage);
                  m.write(file, page_of('d'), 3 * kPage);
              },
              file_pages) == Outcomes{"ab", "ab0", "abc", "ab00", "abc0", "ab0d", "abcd"});
    // What a cut took away does not come back with a larger size that is left.
    CHECK(outcomes(
              two_pages,
              [](Machine& m) {
                  const auto file = m.open("f");
                  REQUIRE(m.fs.truncate(file.get(), kPage));
                  REQUIRE(m.fs.truncate(file.get(), 3 * kPage));
              },
              file_pages) == Outcomes{"ab", "a0", "a", "a00"});
}

TEST_CASE("a cut inside a page", "[fake]") {
    const auto seen = outcomes([](Machine& m) { m.create("f", "abcdef"); },
                               [](Machine& m) {
                                   const auto file = m.open("f");
                                   REQUIRE(m.fs.truncate(file.get(), 2));
                                   REQUIRE(m.fs.truncate(file.get(), 4));
                               },
                               [](Machine& m) { return m.text("f"); });
    const std::string zeros(4, '\0');
    CHECK(seen == Outcomes{"abcdef", "ab" + zeros, "ab", "ab" + zeros.substr(2)});
}

TEST_CASE("O_TRUNC and holes are changes of pages too", "[fake]") {
    CHECK(outcomes(
              two_pages, [](Machine& m) { REQUIRE(m.fs.open(m.root(), "f", O_RDWR | O_TRUNC, 0)); },
              file_pages) == Outcomes{"", "ab", "a0", "0b", "00"});
    CHECK(outcomes(
              two_pages,
              [](Machine& m) {
                  REQUIRE(m.fs.fallocate(m.open("f").get(),
                                         FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 2 * kPage));
              },
              file_pages) == Outcomes{"ab", "a0", "0b", "00"});
    // A page that was a hole is one again.
    CHECK(outcomes([](Machine& m) { REQUIRE(m.fs.truncate(m.create("f").get(), 4 * kPage)); },
                   [](Machine& m) { m.write(m.open("f"), page_of('x'), kPage); },
                   [](Machine& m) {
                       const auto data = m.fs.seek(m.open("f").get(), 0, SEEK_DATA);
                       return data ? std::to_string(*data) : "hole";
                   }) == Outcomes{"hole", "4096"});
}

TEST_CASE("torn writes and death are in the log as well", "[fake]") {
    CHECK(outcomes(
              two_pages,
              [](Machine& m) {
                  m.fs.tear_at(1, kPage, fake::Tear::Then::kDie);
                  const auto file = m.open("f");
                  REQUIRE_FALSE(m.fs.pwrite(file.get(), bytes_of(page_of('A') + page_of('B')), 0));
                  REQUIRE_FALSE(m.fs.fsync(file.get()));
              },
              file_pages) == Outcomes{"ab", "Ab"});
}

TEST_CASE("names come back as a prefix of their history", "[fake]") {
    const auto none = [](Machine&) {};
    CHECK(outcomes(
              none, [](Machine& m) { m.create("a"), m.create("b"), m.create("c"); }, names) ==
          Outcomes{"", "a", "a b", "a b c"});
    CHECK(outcomes(
              none,
              [](Machine& m) {
                  m.create("a");
                  REQUIRE(m.fs.fsync(m.root()));
                  m.create("b");
              },
              names) == Outcomes{"a", "a b"});
    // A directory's sync keeps all that came before in any directory, and nothing after.
    CHECK(outcomes([](Machine& m) { REQUIRE(m.fs.mkdir(m.root(), "d", 0755)); },
                   [](Machine& m) {
                       const auto d = m.fs.open(m.root(), "d", O_RDONLY | O_DIRECTORY, 0);
                       m.create("a");
                       REQUIRE(m.fs.mkdir(d->get(), "x", 0755));
                       m.create("b");
                       REQUIRE(m.fs.fsync(d->get()));
                   },
                   names) == Outcomes{"a d d/x", "a b d d/x"});
    // Content that was synced, of a name that was not.
    CHECK(outcomes(
              none, [](Machine& m) { REQUIRE(m.fs.fsync(m.create("a", "text").get())); },
              [](Machine& m) { return names(m).empty() ? "" : m.text("a"); }) ==
          Outcomes{"", "text"});
}

TEST_CASE("a file replaced before its content was synced may be empty", "[fake]") {
    const auto replace = [](bool sync) {
        return outcomes(
            [](Machine& m) { m.create("f", "old"); },
            [&](Machine& m) {
                const auto file = m.create("new", "NEW");
                if (sync) REQUIRE(m.fs.fdatasync(file.get()));
                REQUIRE(m.fs.rename(m.root(), "new", m.root(), "f", RenameMode::kReplace));
            },
            [](Machine& m) { return m.text("f"); });
    };
    CHECK(replace(true) == Outcomes{"old", "NEW"});
    CHECK(replace(false) == Outcomes{"old", "NEW", "", std::string(3, '\0')});
}

TEST_CASE("every change of names can be undone", "[fake]") {
    const auto prepare = [](Machine& m) {
        m.create("f", "text");
        m.create("g", "other");
        REQUIRE(m.fs.chmod_at(m.root(), "f", 0640));
        REQUIRE(m.fs.link(m.root(), "g", m.root(), "g2"));
        REQUIRE(m.fs.mkdir(m.root(), "d", 0750));
        REQUIRE(m.fs.mkdir(m.root(), "e", 0700));
        REQUIRE(m.fs.symlink("target", m.root(), "s"));
        REQUIRE(m.fs.mknod(m.root(), "p", S_IFIFO | 0600, 0));
    };
    const auto look = [](Machine& m) {
        std::string all;
        for (const auto& [name, what] : tree_of(m.dir.path())) all += name + ": " + what + "\n";
        return all;
    };
    using Work = std::function<Result<void>(FaultLowerFs&, int)>;
    std::vector<Work> works = {
        [](auto& fs, int d) { return fs.unlink(d, "f"); },
        [](auto& fs, int d) { return fs.unlink(d, "g"); },
        [](auto& fs, int d) { return fs.unlink(d, "s"); },
        [](auto& fs, int d) { return fs.unlink(d, "p"); },
        [](auto& fs, int d) { return fs.rmdir(d, "d"); },
        [](auto& fs, int d) { return fs.mkdir(d, "new", 0700); },
        [](auto& fs, int d) { return fs.mknod(d, "new", S_IFIFO | 0600, 0); },
        [](auto& fs, int d) { return fs.symlink("x", d, "new"); },
        [](auto& fs, int d) { return fs.link(d, "f", d, "new"); },
        [](auto& fs, int d) { return fs.link(d, "s", d, "new"); },
        [](auto& fs, int d) { return fs.link_tmpfile(fs.open_tmpfile(d, 0600)->get(), d, "new"); },
        [](auto& fs, int d) { return fs.rename(d, "f", d, "new", RenameMode::kNoReplace); },
        [](auto& fs, int d) { return fs.rename(d, "f", d, "s", RenameMode::kReplace); },
        [](auto& fs, int d) { return fs.rename(d, "f", d, "g", RenameMode::kReplace); },
        [](auto& fs, int d) { return fs.rename(d, "d", d, "e", RenameMode::kReplace); },
        [](auto& fs, int d) { return fs.rename(d, "d", d, "f", RenameMode::kExchange); },
        [](auto& fs, int d) { return fs.chmod_at(d, "f", 0604); },
    };
    if (::geteuid() == 0) {
        works.push_back([](auto& fs, int d) { return fs.chown_at(d, "s", 12, 34); });
        works.push_back([](auto& fs, int d) { return fs.chown_at(d, "f", 12, 34); });
    }
    for (std::size_t i = 0; i < works.size(); ++i) {
        INFO("change " << i);
        Machine before;
        prepare(before);
        Machine after;
        prepare(after);
        REQUIRE(works[i](after.fs, after.root()));
        CHECK(outcomes(
                  prepare, [&](Machine& m) { REQUIRE(works[i](m.fs, m.root())); }, look) ==
              Outcomes{look(before), look(after)});
    }
    // Two names of one file: nothing happens, and nothing is undone.
    CHECK(outcomes(
              prepare,
              [](Machine& m) {
                  REQUIRE(m.fs.rename(m.root(), "g", m.root(), "g2", RenameMode::kReplace));
              },
              names) == Outcomes{"d e f g g2 p s"});
}

TEST_CASE("extended attributes go with names, and with a file put back", "[fake]") {
    const auto value = [](Machine& m) {
        const auto got = m.fs.get_xattr(m.root(), "f", "user.a");
        return got ? std::string(text_of(*got)) : "none";
    };
    Machine probe;
    if (!probe.fs.set_xattr(probe.create("f").get(), "user.a", bytes_of("x"), 0)) {
        WARN("no extended attributes here");
        return;
    }
    const auto prepare = [](Machine& m) {
        REQUIRE(m.fs.set_xattr(m.create("f").get(), "user.a", bytes_of("old"), 0));
    };
    CHECK(outcomes(
              prepare,
              [](Machine& m) {
                  REQUIRE(m.fs.set_xattr(m.root(), "f", "user.a", bytes_of("new"), 0));
                  REQUIRE(m.fs.remove_xattr(m.open("f").get(), "user.a"));
              },
              value) == Outcomes{"old", "new", "none"});
    // fsync keeps them, fdatasync does not.
    CHECK(outcomes(
              prepare,
              [](Machine& m) {
                  const auto file = m.open("f");
                  REQUIRE(m.fs.set_xattr(file.get(), "user.a", bytes_of("1"), 0));
                  REQUIRE(m.fs.fsync(file.get()));
                  REQUIRE(m.fs.set_xattr(file.get(), "user.a", bytes_of("2"), 0));
                  REQUIRE(m.fs.fdatasync(file.get()));
              },
              value) == Outcomes{"1", "2"});
    CHECK(outcomes(
              prepare, [](Machine& m) { REQUIRE(m.fs.unlink(m.root(), "f")); },
              [&](Machine& m) { return names(m) + " " + value(m); }) == Outcomes{"f old", " none"});
}

TEST_CASE("the same seed gives the same crash, and work goes on after it", "[fake]") {
    const auto crashed = [](std::uint64_t seed, Machine& m) {
        two_pages(m);
        m.fs.track_power_loss();
        for (const char* name : {"x", "y", "z"}) m.create(name, page_of(*name));
        m.write(m.open("f"), page_of('A') + page_of('B'));
        return m.fs.power_cut(seed);
    };
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
        Machine one;
        Machine two;
        CHECK(crashed(seed, one) == crashed(seed, two));
        CHECK(tree_of(one.dir.path()) == tree_of(two.dir.path()));
        // What a crash left is on the disk: a second one, with nothing in between, takes nothing.
        const auto left = tree_of(one.dir.path());
        one.fs.power_cut(seed + 1);
        CHECK(tree_of(one.dir.path()) == left);
        one.create("again", "text");
        REQUIRE(one.fs.syncfs(one.root()));
        one.fs.power_cut(seed + 2);
        CHECK(one.text("again") == "text");
    }
}
