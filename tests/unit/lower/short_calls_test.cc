// SPDX-License-Identifier: Apache-2.0
// Reads and writes that the kernel cuts short or interrupts, as network file systems do. This
// program's own pread64, pwrite64 and pwritev64 stand before the libc's.
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <random>

#include "encfs/lower/lower_fs.h"
#include "tests/fake/scratch_dir.h"

using namespace extencfs;
using namespace extencfs::lower;
using fake::ScratchDir;

namespace {

// 0: calls are left alone. Else each moves at most so many bytes, and every third is interrupted.
thread_local std::size_t at_most = 0;
thread_local int calls = 0;

bool interrupted() {
    if (at_most == 0 || ++calls % 3 != 0) return false;
    errno = EINTR;
    return true;
}

std::size_t cut(std::size_t size) {
    return at_most == 0 ? size : std::min(size, at_most);
}

}  // namespace

extern "C" ssize_t pread64(int fd, void* out, size_t size, off64_t offset) {
    if (interrupted()) return -1;
    return ::syscall(SYS_pread64, fd, out, cut(size), offset);
}

extern "C" ssize_t pwrite64(int fd, const void* in, size_t size, off64_t offset) {
    if (interrupted()) return -1;
    return ::syscall(SYS_pwrite64, fd, in, cut(size), offset);
}

extern "C" ssize_t pwritev64(int fd, const iovec* in, int count, off64_t offset) {
    if (interrupted()) return -1;
    std::vector<iovec> pieces(in, in + count);
    std::size_t left = at_most == 0 ? SIZE_MAX : at_most;
    for (iovec& piece : pieces) {
        piece.iov_len = std::min(piece.iov_len, left);
        left -= piece.iov_len;
    }
    return ::syscall(SYS_pwritev, fd, pieces.data(), static_cast<long>(count), offset, 0L);
}

TEST_CASE("calls that are cut short anywhere are completed", "[lower]") {
    const auto dir = ScratchDir::in_memory();
    const auto fs = make_posix_lower_fs();
    std::mt19937 random(11);
    for (std::size_t limit = 1; limit <= 40; ++limit) {
        const auto file =
            fs->open(dir.fd(), "f" + std::to_string(limit), O_CREAT | O_EXCL | O_RDWR, 0600);
        REQUIRE(file);
        const int fd = file->get();
        ByteVector bytes(300);
        for (auto& b : bytes) b = static_cast<std::byte>(random());
        std::vector<iovec> pieces;
        for (std::size_t at = 0; at < bytes.size();) {
            const std::size_t size = std::min<std::size_t>(random() % 30, bytes.size() - at);
            pieces.push_back({bytes.data() + at, size});
            at += size;
        }
        ByteVector vectored(bytes.size());
        ByteVector single(bytes.size());
        ByteVector longer(bytes.size() + 50);
        at_most = limit;
        calls = 0;
        const auto wrote_vector = fs->pwritev(fd, pieces, 7);
        const auto read_vector = fs->pread(fd, vectored, 7);
        const auto wrote = fs->pwrite(fd, bytes, 1'000);
        const auto read = fs->pread(fd, single, 1'000);
        const auto to_end = fs->pread(fd, longer, 1'000);
        const int made = calls;
        at_most = 0;
        INFO("limit " << limit);
        REQUIRE(made > 5);  // else this program's calls were not the ones made
        REQUIRE(wrote_vector);
        REQUIRE(wrote);
        CHECK(*read_vector == bytes.size());
        CHECK(vectored == bytes);
        CHECK(*read == bytes.size());
        CHECK(single == bytes);
        CHECK(*to_end == bytes.size());
        CHECK(fs->stat(fd)->st_size == 1'300);
    }
}
