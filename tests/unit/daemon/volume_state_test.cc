// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/volume_state.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "encfs/volume/format.h"
#include "tests/unit/daemon/temp_dir.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::read_file;
using extencfs::test::TempDir;
using extencfs::test::write_file;

namespace {

struct Root {
    TempDir dir;
    std::unique_ptr<lower::LowerFs> fs = lower::make_posix_lower_fs();
    lower::Fd fd{::open(dir.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    std::string state = dir / volume::kStateName;
    Outcome<WriterLock> lock() { return WriterLock::acquire(*fs, fd.get()); }
    StateView view() {
        auto seen = view_state(*fs, fd.get());
        REQUIRE(seen);
        return *seen;
    }
};

}  // namespace

TEST_CASE("one writer at a time, seen by those who only look") {
    Root root;
    CHECK_FALSE(root.view().exists);
    {
        const auto first = root.lock();
        REQUIRE(first);
        CHECK(root.view().writer_present);
        const auto second = root.lock();
        REQUIRE_FALSE(second);
        CHECK(second.error().kind == FailureKind::kLocked);
    }
    CHECK_FALSE(root.view().writer_present);
    CHECK(root.lock());
}

TEST_CASE("looking takes nothing away from a writer that comes meanwhile") {
    Root root;
    REQUIRE(root.lock());
    for (int i = 0; i < 100; ++i) {
        (void)root.view();
        REQUIRE(root.lock());
    }
}

TEST_CASE("clean only after an end in order") {
    Root root;
    {
        auto lock = root.lock();
        REQUIRE(lock);
        CHECK_FALSE(lock->was_clean());
        REQUIRE(lock->begin_writing());
        CHECK(read_file(root.state) == "dirty\n");
        CHECK_FALSE(root.view().clean);
        REQUIRE(lock->end_clean());
        CHECK_FALSE(root.view().clean);  // still held
    }
    CHECK(root.view().clean);
    {
        auto lock = root.lock();
        REQUIRE(lock);
        CHECK(lock->was_clean());
        REQUIRE(lock->begin_writing());
    }
    CHECK_FALSE(root.view().clean);
    CHECK_FALSE(root.lock()->was_clean());
}

TEST_CASE("the lock dies with its process") {
    Root root;
    int ready[2];
    REQUIRE(pipe(ready) == 0);
    const pid_t child = fork();
    if (child == 0) {
        auto lock = root.lock();
        (void)!write(ready[1], lock ? "y" : "n", 1);
        for (;;) pause();
    }
    char answer = 0;
    REQUIRE(read(ready[0], &answer, 1) == 1);
    CHECK(answer == 'y');
    CHECK(root.lock().error().kind == FailureKind::kLocked);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    CHECK(root.lock());
    close(ready[0]);
    close(ready[1]);
}

TEST_CASE("other texts are dirty, other kinds of file are refused") {
    Root root;
    for (const char* text : {"", "clean", "clean\n\n", "CLEAN\n", "cleanly unmounted\n"}) {
        write_file(root.state, text);
        CHECK_FALSE(root.view().clean);
        auto lock = root.lock();
        REQUIRE(lock);
        CHECK_FALSE(lock->was_clean());
        REQUIRE(lock->end_clean());
        CHECK(read_file(root.state) == "clean\n");
    }
    unlink(root.state.c_str());
    REQUIRE(mkfifo(root.state.c_str(), 0600) == 0);
    CHECK_FALSE(root.lock());
    unlink(root.state.c_str());
    REQUIRE(symlink("elsewhere", root.state.c_str()) == 0);
    CHECK_FALSE(root.lock());
    CHECK_FALSE(std::filesystem::exists(root.dir / "elsewhere"));
}
