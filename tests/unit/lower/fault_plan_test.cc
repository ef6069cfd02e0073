// SPDX-License-Identifier: Apache-2.0
// The faults that need no power loss: failing calls, torn writes, death.
#include <fcntl.h>
#include <sys/stat.h>
#include <catch2/catch.hpp>

#include <atomic>
#include <thread>

#include "tests/fake/fault_lower_fs.h"
#include "tests/fake/scratch_dir.h"
#include "tests/unit/lower/tree_of.h"

using namespace extencfs;
using namespace extencfs::lower;
using fake::Calls;
using fake::FaultLowerFs;
using fake::ScratchDir;
using fake::Tear;

namespace {

template <typename T>
int error_of(const Result<T>& result) {
    return result ? 0 : result.error().value;
}

std::string text_in(LowerFs& fs, int fd) {
    std::string text(1000, '?');
    const auto size = fs.pread(fd, std::as_writable_bytes(std::span(text)), 0);
    REQUIRE(size);
    text.resize(*size);
    return text;
}

}  // namespace

TEST_CASE("the fake counts and names calls", "[fake]") {
    const auto dir = ScratchDir::in_memory();
    FaultLowerFs fs;
    REQUIRE(fs.mkdir(dir.fd(), "d", 0755));
    const auto file = fs.open(dir.fd(), "f", O_CREAT | O_RDWR, 0600);
    REQUIRE(fs.pwrite(file->get(), bytes_of("x"), 0));
    REQUIRE(fs.open(dir.fd(), "f", O_RDONLY, 0));
    REQUIRE(fs.stat(file->get()));
    REQUIRE(fs.fdatasync(file->get()));
    CHECK(error_of(fs.unlink(dir.fd(), "none")) == ENOENT);
    CHECK(fs.calls() == std::vector<std::string>{"mkdir", "open", "pwrite", "open", "stat",
                                                 "fdatasync", "unlink"});
    CHECK(fs.count() == 7);
    CHECK(fs.count(Calls::mutating()) == 5);
    CHECK(fs.count(Calls::named("open")) == 2);
    fs.forget_calls();
    CHECK(fs.count() == 0);
}

TEST_CASE("the n-th call fails once, without effect", "[fake]") {
    const auto dir = ScratchDir::in_memory();
    FaultLowerFs fs;
    fs.fail_at(2, ENOSPC);
    CHECK(fs.mkdir(dir.fd(), "a", 0755));
    CHECK(fs.stat_at(dir.fd(), "a"));  // does not count
    CHECK(error_of(fs.mkdir(dir.fd(), "b", 0755)) == ENOSPC);
    CHECK(fs.mkdir(dir.fd(), "c", 0755));
    CHECK(tree_of(dir.path()).size() == 2);
    CHECK_FALSE(tree_of(dir.path()).contains("b"));

    fs.fail_at(2, EIO, Calls::any());
    fs.fail_at(1, EDQUOT, Calls::named("pwrite"));
    const auto file = fs.open(dir.fd(), "f", O_CREAT | O_RDWR, 0600);
    CHECK(error_of(fs.stat(file->get())) == EIO);
    CHECK(fs.stat(file->get()));
    CHECK(fs.truncate(file->get(), 0));
    CHECK(error_of(fs.pwrite(file->get(), bytes_of("x"), 0)) == EDQUOT);
    CHECK(text_in(fs, file->get()).empty());
    CHECK(fs.pwrite(file->get(), bytes_of("x"), 0));
    CHECK(text_in(fs, file->get()) == "x");
}

TEST_CASE("a write is torn", "[fake]") {
    const auto dir = ScratchDir::in_memory();
    FaultLowerFs fs;
    const auto file = fs.open(dir.fd(), "f", O_CREAT | O_RDWR, 0600);
    const int fd = file->get();
    fs.tear_at(2, 3);
    REQUIRE(fs.pwrite(fd, bytes_of("......"), 0));
    CHECK(error_of(fs.pwrite(fd, bytes_of("ABCDEF"), 0)) == ENOSPC);
    CHECK(text_in(fs, fd) == "ABC...");
    REQUIRE(fs.pwrite(fd, bytes_of("......"), 0));

    std::string a = "AB";
    std::string b = "CDEF";
    const std::vector<iovec> pieces = {{a.data(), 2}, {b.data(), 4}};
    fs.tear_at(1, 5);
    CHECK(error_of(fs.pwritev(fd, pieces, 0)) == ENOSPC);
    CHECK(text_in(fs, fd) == "ABCDE.");
    fs.tear_at(1, 1);
    CHECK(error_of(fs.pwritev(fd, pieces, 4)) == ENOSPC);
    CHECK(text_in(fs, fd) == "ABCDA.");

    fs.tear_at(1, 0, Tear::Then::kDie);
    CHECK(error_of(fs.pwrite(fd, bytes_of("zzz"), 0)) == EIO);
    CHECK(fs.dead());
    CHECK(error_of(fs.pwrite(fd, bytes_of("zzz"), 0)) == EIO);
    fs.revive();
    CHECK(text_in(fs, fd) == "ABCDA.");
}

TEST_CASE("death leaves what was done and nothing more", "[fake]") {
    for (std::uint64_t n = 1; n <= 4; ++n) {
        const auto dir = ScratchDir::in_memory();
        FaultLowerFs fs;
        fs.die_at(n);
        int failed = 0;
        for (const char* name : {"a", "b", "c"}) {
            const auto done = fs.mkdir(dir.fd(), name, 0755);
            if (!done) CHECK(error_of(done) == EIO);
            failed += done ? 0 : 1;
        }
        CHECK(fs.dead() == (n <= 3));
        CHECK(tree_of(dir.path()).size() == n - 1);
        CHECK(static_cast<std::uint64_t>(failed) == 4 - n);
        if (!fs.dead()) continue;
        CHECK(error_of(fs.stat_at(dir.fd(), "a")) == EIO);
        CHECK(error_of(fs.fsync(dir.fd())) == EIO);
        CHECK(error_of(fs.list(dir.fd(), [](const DirEntry&) { return true; })) == EIO);
        fs.revive();
        CHECK(fs.mkdir(dir.fd(), "later", 0755));
    }
}

TEST_CASE("faults hit once among many threads", "[fake]") {
    const auto dir = ScratchDir::in_memory();
    FaultLowerFs fs;
    fs.track_power_loss();
    fs.fail_at(100, ENOSPC, Calls::named("pwrite"));
    std::atomic<int> failed = 0;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
        threads.emplace_back([&, t] {
            const auto file = fs.open(dir.fd(), "f" + std::to_string(t), O_CREAT | O_RDWR, 0600);
            for (std::uint64_t i = 0; i < 100; ++i) {
                if (!file || !fs.pwrite(file->get(), bytes_of("some text"), i * 9)) ++failed;
                if (i % 10 == 0) (void)fs.fdatasync(file->get());
            }
        });
    for (auto& thread : threads) thread.join();
    CHECK(failed == 1);
    CHECK(fs.count(Calls::named("pwrite")) == 400);
}
