// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <csignal>
#include <random>

#include "encfs/lower/lower_fs.h"
#include "tests/fake/scratch_dir.h"

using namespace extencfs;
using namespace extencfs::lower;
using fake::ScratchDir;

namespace {

template <typename T>
int error_of(const Result<T>& result) {
    return result ? 0 : result.error().value;
}

ByteVector random_bytes(std::size_t size) {
    std::mt19937 random(7);
    ByteVector bytes(size);
    for (auto& b : bytes) b = static_cast<std::byte>(random());
    return bytes;
}

ByteVector read_all(LowerFs& fs, int fd, std::size_t at_most = 1 << 20) {
    ByteVector bytes(at_most);
    const auto size = fs.pread(fd, bytes, 0);
    REQUIRE(size);
    bytes.resize(*size);
    return bytes;
}

Fd make_file(LowerFs& fs, int dirfd, const std::string& name = "f") {
    auto file = fs.open(dirfd, name, O_CREAT | O_EXCL | O_RDWR, 0644);
    REQUIRE(file);
    return std::move(*file);
}

// Files may not grow beyond this while it lives: a write across the end is short, one behind it
// fails with EFBIG.
class FileSizeLimit {
  public:
    explicit FileSizeLimit(rlim_t size) {
        ::getrlimit(RLIMIT_FSIZE, &was_);
        handler_ = std::signal(SIGXFSZ, SIG_IGN);
        const struct rlimit limit = {size, was_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~FileSizeLimit() {
        ::setrlimit(RLIMIT_FSIZE, &was_);
        std::signal(SIGXFSZ, handler_);
    }

  private:
    struct rlimit was_;
    void (*handler_)(int);
};

}  // namespace

TEST_CASE("reads end at the file's end", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const auto file = make_file(*fs, dir.fd());
    const auto bytes = random_bytes(10'000);
    REQUIRE(fs->pwrite(file.get(), bytes, 0));
    CHECK(read_all(*fs, file.get()) == bytes);
    ByteVector some(100);
    CHECK(*fs->pread(file.get(), some, 500) == 100);
    CHECK(std::ranges::equal(some, std::span(bytes).subspan(500, 100)));
    CHECK(*fs->pread(file.get(), some, 9'950) == 50);
    CHECK(*fs->pread(file.get(), some, 10'000) == 0);
    CHECK(*fs->pread(file.get(), some, 1ULL << 40) == 0);
    CHECK(*fs->pread(file.get(), {}, 0) == 0);
    CHECK(error_of(fs->pread(file.get(), some, ~0ULL)) == EINVAL);
    CHECK(error_of(fs->pread(-1, some, 0)) == EBADF);
    CHECK(error_of(fs->pread(dir.fd(), some, 0)) == EISDIR);
}

TEST_CASE("vectors are written whole, also longer ones than the kernel takes", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const auto file = make_file(*fs, dir.fd());
    auto bytes = random_bytes(9'000);
    std::vector<iovec> pieces;
    for (std::size_t at = 0; at < bytes.size(); at += 3) {
        pieces.push_back({bytes.data() + at, 3});
        if (at % 300 == 0) pieces.push_back({nullptr, 0});
    }
    REQUIRE(pieces.size() > 2 * IOV_MAX);
    REQUIRE(fs->pwritev(file.get(), pieces, 5));
    REQUIRE(fs->stat(file.get())->st_size == 9'005);
    ByteVector back(bytes.size());
    REQUIRE(*fs->pread(file.get(), back, 5) == back.size());
    CHECK(back == bytes);
    CHECK(fs->pwritev(file.get(), {}, 0));
    CHECK(error_of(fs->pwritev(-1, pieces, 0)) == EBADF);
    CHECK(error_of(fs->pwrite(-1, bytes, 0)) == EBADF);
}

TEST_CASE("a short write is gone on with until it fails", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const auto file = make_file(*fs, dir.fd());
    auto bytes = random_bytes(1'000);
    const std::vector<iovec> pieces = {{bytes.data(), 600}, {bytes.data() + 600, 400}};
    for (const std::uint64_t limit : {300, 600, 700}) {
        REQUIRE(fs->truncate(file.get(), 0));
        int single = 0;
        int vectored = 0;
        {
            const FileSizeLimit only(limit);
            vectored = error_of(fs->pwritev(file.get(), pieces, 0));
            single = error_of(fs->pwrite(file.get(), bytes, 0));
        }
        CHECK(vectored == EFBIG);
        CHECK(single == EFBIG);
        const auto left = read_all(*fs, file.get());
        CHECK(left.size() == limit);
        CHECK(std::ranges::equal(left, std::span(bytes).first(limit)));
    }
}

TEST_CASE("a pipe has no offsets", "[lower]") {
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    const Fd read_end(ends[0]);
    const Fd write_end(ends[1]);
    const auto fs = make_posix_lower_fs();
    CHECK(error_of(fs->pwrite(write_end.get(), bytes_of("x"), 0)) == ESPIPE);
    CHECK(error_of(fs->seek(write_end.get(), 0, SEEK_DATA)) == ESPIPE);
}

TEST_CASE("size, holes and allocation", "[lower]") {
    const auto dir = ScratchDir::in_memory();
    const auto fs = make_posix_lower_fs();
    const auto file = make_file(*fs, dir.fd());
    REQUIRE(fs->truncate(file.get(), 1 << 20));
    CHECK(fs->stat(file.get())->st_size == 1 << 20);
    CHECK(error_of(fs->seek(file.get(), 0, SEEK_DATA)) == ENXIO);
    REQUIRE(fs->pwrite(file.get(), random_bytes(4096), 64 * 1024));
    CHECK(*fs->seek(file.get(), 0, SEEK_DATA) == 64 * 1024);
    CHECK(*fs->seek(file.get(), 0, SEEK_HOLE) == 0);
    CHECK(*fs->seek(file.get(), 64 * 1024, SEEK_HOLE) == 68 * 1024);
    REQUIRE(fs->fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 64 * 1024, 4096));
    CHECK(error_of(fs->seek(file.get(), 0, SEEK_DATA)) == ENXIO);
    REQUIRE(fs->fallocate(file.get(), 0, 1 << 20, 100));
    CHECK(fs->stat(file.get())->st_size == (1 << 20) + 100);
    CHECK(error_of(fs->fallocate(file.get(), 0, 0, 0)) == EINVAL);
    CHECK(error_of(fs->truncate(file.get(), ~0ULL)) == EINVAL);
    CHECK(error_of(fs->truncate(dir.fd(), 0)) == EINVAL);
}

TEST_CASE("attributes and syncs of a descriptor", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const auto file = make_file(*fs, dir.fd());
    REQUIRE(fs->chmod(file.get(), 0400));
    CHECK((fs->stat(file.get())->st_mode & 07777) == 0400);
    const struct timespec times[2] = {{10, 1}, {20, 2}};
    REQUIRE(fs->utimens(file.get(), times));
    const struct timespec one[2] = {{0, UTIME_OMIT}, {30, 3}};
    REQUIRE(fs->utimens(file.get(), one));
    const auto is = *fs->stat(file.get());
    CHECK(is.st_atim.tv_sec == 10);
    CHECK(is.st_mtim.tv_sec == 30);
    CHECK(is.st_mtim.tv_nsec == 3);
    if (::geteuid() == 0) {
        REQUIRE(fs->chown(file.get(), 12, static_cast<gid_t>(-1)));
        CHECK(fs->stat(file.get())->st_uid == 12);
        CHECK(fs->stat(file.get())->st_gid == is.st_gid);
    }
    CHECK(fs->fdatasync(file.get()));
    CHECK(fs->fsync(file.get()));
    CHECK(fs->fsync(dir.fd()));
    CHECK(fs->statvfs(dir.fd())->f_bsize > 0);
    for (const auto& done : {fs->chmod(-1, 0), fs->chown(-1, 0, 0), fs->utimens(-1, times),
                             fs->fdatasync(-1), fs->fsync(-1), fs->syncfs(-1)})
        CHECK(error_of(done) == EBADF);
    CHECK(error_of(fs->stat(-1)) == EBADF);
    CHECK(error_of(fs->statvfs(-1)) == EBADF);
    // Of a file system in memory, as it takes all that others have written with it.
    CHECK(fs->syncfs(ScratchDir::in_memory().fd()));
}

TEST_CASE("extended attributes, by name and by descriptor", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    const int d = dir.fd();
    const auto file = make_file(*fs, d);
    const int f = file.get();
    if (error_of(fs->set_xattr(f, "user.a", bytes_of("1"), 0)) == EOPNOTSUPP) {
        WARN("no extended attributes here");
        return;
    }
    // Either way reaches the same attributes.
    CHECK(text_of(*fs->get_xattr(d, "f", "user.a")) == "1");
    REQUIRE(fs->set_xattr(d, "f", "user.b", bytes_of("two"), XATTR_CREATE));
    CHECK(text_of(*fs->get_xattr(f, "user.b")) == "two");
    CHECK(error_of(fs->set_xattr(d, "f", "user.b", {}, XATTR_CREATE)) == EEXIST);
    CHECK(error_of(fs->set_xattr(f, "user.c", {}, XATTR_REPLACE)) == ENODATA);
    REQUIRE(fs->set_xattr(f, "user.empty", {}, 0));
    CHECK(fs->get_xattr(d, "f", "user.empty")->empty());

    for (auto names : {*fs->list_xattr(d, "f"), *fs->list_xattr(f)}) {
        std::erase_if(names, [](const auto& name) { return !name.starts_with("user."); });
        std::ranges::sort(names);
        CHECK(names == std::vector<std::string>{"user.a", "user.b", "user.empty"});
    }
    REQUIRE(fs->remove_xattr(d, "f", "user.a"));
    REQUIRE(fs->remove_xattr(f, "user.b"));
    CHECK(error_of(fs->get_xattr(f, "user.a")) == ENODATA);
    CHECK(error_of(fs->get_xattr(d, "f", "user.b")) == ENODATA);
    CHECK(error_of(fs->remove_xattr(f, "user.a")) == ENODATA);
    CHECK(error_of(fs->remove_xattr(d, "f", "user.a")) == ENODATA);
    CHECK(error_of(fs->get_xattr(d, "none", "user.a")) == ENOENT);
    CHECK(error_of(fs->list_xattr(d, "none")) == ENOENT);
    CHECK(error_of(fs->get_xattr(d, std::string(256, 'x'), "user.a")) == ENAMETOOLONG);

    // Values and lists that the first, small buffer does not hold.
    const auto big = random_bytes(3'000);
    REQUIRE(fs->set_xattr(f, "user.big", big, 0));
    CHECK(*fs->get_xattr(f, "user.big") == big);
    CHECK(*fs->get_xattr(d, "f", "user.big") == big);
    REQUIRE(fs->remove_xattr(f, "user.big"));
    std::vector<std::string> many;
    for (int i = 0; i < 12; ++i) {
        many.push_back("user." + std::string(180, static_cast<char>('a' + i)));
        if (!fs->set_xattr(f, many.back(), {}, 0)) break;
    }
    REQUIRE(many.size() == 12);
    auto names = *fs->list_xattr(f);
    for (const auto& name : many) CHECK(std::ranges::find(names, name) != names.end());

    // The longest name, through a descriptor that only names the directory; and no symlink
    // followed.
    const std::string longest(255, 'n');
    make_file(*fs, d, longest);
    const Fd path(::open(dir.path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(fs->set_xattr(path.get(), longest, "user.p", bytes_of("x"), 0));
    CHECK(text_of(*fs->get_xattr(d, longest, "user.p")) == "x");
    REQUIRE(fs->symlink("f", d, "link"));
    CHECK(error_of(fs->set_xattr(d, "link", "user.z", {}, 0)) == EPERM);
    CHECK(error_of(fs->get_xattr(f, "user.z")) == ENODATA);
}

TEST_CASE("a descriptor is closed once, and moves", "[lower]") {
    const auto dir = ScratchDir::on_disk();
    const auto fs = make_posix_lower_fs();
    Fd a = make_file(*fs, dir.fd());
    const int number = a.get();
    Fd b = std::move(a);
    CHECK_FALSE(a);
    CHECK(b.get() == number);
    CHECK(::fcntl(number, F_GETFD) != -1);
    a = std::move(b);
    a.reset();
    CHECK(::fcntl(number, F_GETFD) == -1);
    a.reset();
    CHECK(a.release() == -1);
}
