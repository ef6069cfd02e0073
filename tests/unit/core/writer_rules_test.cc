// SPDX-License-Identifier: Apache-2.0
// FORMAT.md "Writer rules" and "Recovery" where a change fails half way, or something comes in
// between: what is below afterwards, and what growth then shows.
#include <linux/falloc.h>

#include <cstring>
#include <functional>

#include "encfs/volume/file_header.h"
#include "encfs/volume/geometry.h"
#include "tests/unit/core/recorded_lower.h"
#include "tests/unit/core/tampered_volume.h"

using namespace extencfs;
using namespace extencfs::core;
using fake::Calls;

namespace {

constexpr std::size_t kSize = 20'000;

// The bytes of each fragment that lay within the file when it was sealed: not secret.
std::uint32_t used_of(const std::string& lower, std::uint64_t number) {
    const auto where = volume::fragment(number);
    std::uint32_t word = 0;
    REQUIRE(lower.size() >= where.cipher_off + 16);
    std::memcpy(&word, lower.data() + where.cipher_off + 12, 4);
    return word & 0xfff;
}
void check_used(const std::string& path, std::uint64_t size) {
    const std::string lower = lower_bytes(path);
    for (std::uint64_t n = 0; n < volume::fragment_count(size); ++n) {
        INFO("fragment " << n);
        const auto where = volume::fragment(n);
        CHECK(used_of(lower, n) ==
              std::min<std::uint64_t>(where.plain_size, size - where.plain_off));
    }
}

// Runs something of the same file system while a sync is under way.
class SyncBeside final : public BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    std::function<void()> during;
    lower::Result<void> fdatasync(int fd) override {
        auto done = BorrowedLower::fdatasync(fd);
        if (during) std::exchange(during, nullptr)();
        return done;
    }
};

// Runs something of the same file system when the next bytes are below and not yet known of.
class WriteBeside final : public BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    std::function<void()> after;
    lower::Result<void> pwrite(int fd, Bytes in, std::uint64_t off) override {
        auto done = BorrowedLower::pwrite(fd, in, off);
        if (after) std::exchange(after, nullptr)();
        return done;
    }
};

// Denies writing, as EPERM of an immutable file does.
class Immutable final : public BorrowedLower {
  public:
    using BorrowedLower::BorrowedLower;
    std::string name;
    lower::Result<lower::Fd> open(int d, const std::string& n, int flags, mode_t mode) override {
        if (n == name && (flags & O_ACCMODE) != O_RDONLY)
            return std::unexpected(lower::Errno{EPERM});
        return BorrowedLower::open(d, n, flags, mode);
    }
};

}  // namespace

TEST_CASE("each change leaves the last fragment sealed for the length that it leads to") {
    TamperedVolume v;
    const NodeId f = v.make_file("f", stamped(1, 0, kSize));
    const std::string lower = v.lower_of("f");
    check_used(lower, kSize);
    const auto write = [&](std::uint64_t off, std::size_t size, WriteSource source) {
        REQUIRE(v.fs().write(f, off, bytes_of(stamped(2, off, size)), source, {}));
    };
    write(100, 10, WriteSource::kCaller);
    check_used(lower, kSize);
    write(kSize, 10, WriteSource::kCaller);
    check_used(lower, kSize + 10);
    REQUIRE(v.resize(f, 8100));
    check_used(lower, 8100);
    // A gap within one fragment makes no hole.
    REQUIRE(v.fs().fsync(f, false));
    write(8192, 4096, WriteSource::kPageCache);
    REQUIRE(v.fs().flush(f));
    check_used(lower, 12'288);
    REQUIRE(v.resize(f, 9000));
    REQUIRE(v.resize(f, 9100));
    check_used(lower, 9100);
    REQUIRE(v.resize(f, 200'000));
    const std::uint64_t tail = volume::fragment_of(9099);
    CHECK(used_of(lower_bytes(lower), tail) == volume::fragment(tail).plain_size);
    std::string expected = v.read(f).value();
    v.remount();
    CHECK(v.read(v.node("f")) == expected);
}

TEST_CASE("rule 4: what a truncation failed to cut off does not come back") {
    TamperedVolume v;
    const NodeId f = v.make_file("f", stamped(1, 0, kSize));
    v.lower().fail_at(1, EIO, Calls::named("truncate"));
    // Fragment 1 lies whole within the size hint of 3,000 bytes.
    CHECK_FALSE(v.resize(f, 3000));
    std::string grown(200'000, '\0');
    grown.replace(0, 3000, stamped(1, 0, 3000));
    SECTION("when it grows") {
        REQUIRE(v.resize(f, 200'000));
        CHECK(v.read(f) == grown);
    }
    SECTION("when it grows later") {
        v.remount();
        REQUIRE(v.resize(v.node("f"), 200'000));
        CHECK(v.read(v.node("f")) == grown);
    }
}

TEST_CASE("rule 2: what a failed growth left is cut off, at the next change if not at once") {
    TamperedVolume v;
    const NodeId f = v.make_file("f", stamped(1, 0, 3000));
    const bool later = GENERATE(false, true);
    v.lower().tear_at(1, 8192);
    if (later) v.lower().fail_at(1, EIO, Calls::named("truncate"));
    CHECK_FALSE(v.fs().write(f, 3000, bytes_of(stamped(2, 3000, kSize)), WriteSource::kCaller, {}));
    v.lower().revive();
    CHECK(v.size(f) == 3000);
    std::string grown(200'000, '\0');
    grown.replace(0, 3000, stamped(1, 0, 3000));
    SECTION("when it grows") {
        REQUIRE(v.resize(f, 200'000));
        CHECK(v.read(f) == grown);
    }
    SECTION("when it grows later") {
        v.remount();
        REQUIRE(v.resize(v.node("f"), 200'000));
        CHECK(v.read(v.node("f")) == grown);
    }
}

TEST_CASE("rule 2: the cut after a failed growth is durable before the next growth") {
    fake::FaultLowerFs faults;
    Recorded lower(faults);
    const auto dir = fake::ScratchDir::in_memory();
    const auto fs = open_fs(lower, dir, {.clean = true});
    auto f = fs->create(kRootNode, "f", 0644, {});
    REQUIRE(f);
    // After the cut nothing below tells that there was anything to cut.
    constexpr std::uint64_t kWhole = 63 * volume::kBlockSize;
    REQUIRE(volume::data_end(kWhole) == volume::hint_of_size(kWhole));
    REQUIRE(fs->write(f->node, 0, bytes_of(stamped(1, 0, kWhole)), WriteSource::kCaller, {}));
    REQUIRE(fs->fsync(f->node, false));
    const std::string more = stamped(1, kWhole, kSize);
    faults.tear_at(1, 4096);
    CHECK_FALSE(fs->write(f->node, kWhole, bytes_of(more), WriteSource::kCaller, {}));
    lower.calls.clear();
    REQUIRE(fs->write(f->node, kWhole, bytes_of(more), WriteSource::kCaller, {}));
    INFO(lower.text());
    CHECK(lower.has("fdatasync"));
    CHECK(lower.find("fdatasync") < lower.find("pwrite"));
    fs->forget(f->node, 1);
}

TEST_CASE("rule 6: a growth that fails changes no length, also that before a write") {
    for (const bool write : {true, false}) {
        // Sealing the tail, the header, the lower length; then the data, its header and length.
        for (std::uint64_t n = 1; n <= (write ? 6 : 3); ++n) {
            INFO((write ? "write" : "truncate") << ", call " << n);
            TamperedVolume v;
            const NodeId f = v.make_file("f", stamped(1, 0, 5000));
            v.lower().fail_at(n, EFBIG);
            if (write)
                CHECK_FALSE(v.fs().write(f, 300'000, bytes_of("x"), WriteSource::kCaller, {}));
            else
                CHECK_FALSE(v.resize(f, 300'000));
            CHECK(v.size(f) == 5000);
            CHECK(v.read(f) == stamped(1, 0, 5000));
        }
    }
}

TEST_CASE("rule 8: a last fragment sealed for a length that never came is sealed anew, durably") {
    TamperedVolume v;
    const NodeId f = v.make_file("f", stamped(1, 0, 5000));
    const std::string lower = v.lower_of("f");
    const std::uint64_t tail = volume::fragment_of(4999);
    // The data is there, its header is not.
    v.lower().die_at(2);
    CHECK_FALSE(v.fs().write(f, 5000, bytes_of(stamped(2, 5000, 100)), WriteSource::kCaller, {}));
    v.kill();
    REQUIRE(used_of(lower_bytes(lower), tail) == 5100 - volume::fragment(tail).plain_off);
    const std::string name = Recorded::called(lower);
    Recorded recorded(v.lower());
    const std::size_t threads = threads_now();
    const auto fs = open_fs(recorded, v.dir(), {.clean = false});
    wait_for_scan(threads);
    INFO(recorded.text());
    const std::size_t sealed =
        recorded.find("pwrite " + name + " " + std::to_string(volume::fragment(tail).cipher_off));
    CHECK(sealed < recorded.find("fdatasync " + name));
    CHECK(recorded.has("fdatasync " + name));
    check_used(lower, 5000);
    v.mount();
}

TEST_CASE("rule 8: what lies behind the last fragment goes after an unclean end") {
    const bool near = GENERATE(true, false);
    INFO((near ? "in its page" : "behind its page"));
    TamperedVolume v;
    const std::string data = stamped(1, 0, kSize);
    v.make_file("f", data);
    const std::string lower = v.lower_of("f");
    const std::string old = lower_bytes(lower);
    constexpr std::uint64_t kCut = 12'100, kGrown = 100'000;
    REQUIRE(v.resize(v.node("f"), kCut));
    REQUIRE(v.unmount());
    const std::uint64_t end = volume::data_end(kCut), hint = volume::hint_of_size(kCut);
    const std::uint64_t page = (end + 4095) / 4096 * 4096;
    REQUIRE(end < page);
    REQUIRE(page < hint);
    // A whole fragment of what was cut off, with st_size as it should be.
    if (near)
        patch(lower, end, old.substr(end, page - end));
    else
        patch(lower, page, old.substr(page, hint - page));
    REQUIRE(std::filesystem::file_size(lower) == hint);
    v.mount(false);
    v.wait_for_the_scan();
    const NodeId f = v.node("f");
    REQUIRE(v.resize(f, kGrown));
    CHECK(v.read(f) == data.substr(0, kCut) + std::string(kGrown - kCut, '\0'));
    CHECK(v.damage().text() == "");
}

TEST_CASE("the epoch advances only from a durable header") {
    TamperedVolume v;
    v.make_file("f", stamped(1, 0, kSize));
    const std::string lower = v.lower_of("f");
    const auto epoch = [&] {
        const std::string bytes = lower_bytes(lower).substr(0, volume::kFileHeaderSize);
        auto header = volume::decode_header(bytes_of(bytes).first<volume::kFileHeaderSize>(),
                                            keys_for_tests()->current().header.bytes());
        REQUIRE(header);
        return header->epoch;
    };
    for (int i = 0; i < 3; ++i) {
        v.session().forget_all();
        REQUIRE(v.fs().write(v.node("f"), 0, bytes_of("x"), WriteSource::kCaller, {}));
        CHECK(epoch() == 0);
    }
    v.session().forget_all();
    REQUIRE(v.fs().fsync(v.node("f"), false));
    REQUIRE(v.fs().write(v.node("f"), 0, bytes_of("x"), WriteSource::kCaller, {}));
    CHECK(epoch() == 1);
}

TEST_CASE("what changes while a file is synced is not taken as synced") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    SyncBeside beside(*real);
    Recorded lower(beside);
    const auto fs = open_fs(lower, dir, {.clean = true});
    auto f = fs->create(kRootNode, "f", 0644, {});
    REQUIRE(f);
    const auto resize = [&](std::uint64_t size) {
        AttrChange change;
        change.size_set = true;
        change.size = size;
        REQUIRE(fs->setattr(f->node, change));
    };
    const std::string data = stamped(1, 0, kSize);
    REQUIRE(fs->write(f->node, 0, bytes_of(data), WriteSource::kCaller, {}));
    SECTION("a truncation") {
        beside.during = [&] { resize(9000); };
        REQUIRE(fs->fsync(f->node, true));
        lower.calls.clear();
        REQUIRE(fs->write(f->node, 9000, bytes_of("x"), WriteSource::kCaller, {}));
        INFO(lower.text());
        CHECK(lower.find("fdatasync") < lower.find("pwrite"));
        CHECK(lower.has("fdatasync"));
    }
    SECTION("the flag of holes") {
        beside.during = [&] { resize(400'000); };
        REQUIRE(fs->fsync(f->node, true));
        lower.calls.clear();
        REQUIRE(fs->fallocate(f->node, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 10'000, {}));
        INFO(lower.text());
        CHECK(lower.find("fdatasync") < lower.find("fallocate"));
    }
    SECTION("names in the directory") {
        auto d = fs->mkdir(kRootNode, "d", 0755, {});
        REQUIRE(d);
        auto inner = fs->create(d->node, std::string(200, 'n'), 0644, {});
        REQUIRE(inner);
        std::uint64_t more = 0;
        beside.during = [&] {
            auto made = fs->create(d->node, std::string(200, 'm'), 0644, {});
            REQUIRE(made);
            more = made->node;
        };
        REQUIRE(fs->fsync_directory(d->node));
        REQUIRE(more != 0);
        lower.calls.clear();
        REQUIRE(fs->fsync(more, false));
        CHECK(lower.has(std::string("fdatasync ") + volume::kLongSidePrefix));
        for (const NodeId node : {d->node, inner->node, more}) fs->forget(node, 1);
    }
    fs->forget(f->node, 1);
}

TEST_CASE("rule 5: a file that leaves for want of descriptors is synced if it was truncated") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto real = lower::make_posix_lower_fs();
    Recorded lower(*real);
    const auto fs = open_fs(lower, dir, {.clean = true, .max_descriptors = 8});
    Session session(*fs);
    std::vector<NodeId> files;
    for (int i = 0; i < 12; ++i) {
        const std::string name = "f" + std::to_string(i);
        REQUIRE(session.keep(fs->create(kRootNode, name, 0644, {})));
        files.push_back(*session.node(name));
    }
    const std::string data = stamped(1, 0, kSize);
    REQUIRE(fs->write(files[0], 0, bytes_of(data), WriteSource::kCaller, {}));
    AttrChange change;
    change.size_set = true;
    change.size = 9000;
    REQUIRE(fs->setattr(files[0], change));
    lower.calls.clear();
    for (const NodeId node : files)
        if (node != files[0]) REQUIRE(fs->write(node, 0, bytes_of(data), WriteSource::kCaller, {}));
    INFO(lower.text());
    CHECK(lower.has("fdatasync"));
    session.forget_all();
}

TEST_CASE("rule 2: the size hint waits for writes beyond it, and for what a failed one left") {
    const auto dir = fake::ScratchDir::in_memory();
    fake::FaultLowerFs faults;
    WriteBeside lower(faults);
    Damage damage;
    const auto fs = open_fs(lower, dir, {.clean = true, .damage = &damage});
    Session session(*fs);
    REQUIRE(session.keep(fs->create(kRootNode, "f", 0644, {})));
    NodeId f = *session.node("f");
    std::string expected;
    const auto write = [&](std::uint64_t off, std::size_t size, WriteSource source) {
        const std::string data = stamped(1, off, size);
        return fs->write(f, off, bytes_of(data), source, {}).has_value();
    };
    SECTION("under way") {
        REQUIRE(write(0, 100, WriteSource::kCaller));
        lower.after = [&] { REQUIRE(write(100, 100, WriteSource::kCaller)); };
        REQUIRE(write(4096, 4096, WriteSource::kPageCache));
        REQUIRE(fs->flush(f));
        expected = stamped(1, 0, 200) + std::string(3896, '\0') + stamped(1, 4096, 4096);
    }
    SECTION("failed") {
        REQUIRE(write(0, 12'000, WriteSource::kCaller));
        lower.after = [&] {
            faults.tear_at(1, volume::fragment(6).cipher_size);
            CHECK_FALSE(write(12'288, 4096, WriteSource::kPageCache));
        };
        REQUIRE(write(12'000, 60, WriteSource::kCaller));
        session.forget_all();
        f = *session.node("f");
        AttrChange change;
        change.size_set = true;
        change.size = 100'000;
        REQUIRE(fs->setattr(f, change));
        expected = stamped(1, 0, 12'060) + std::string(100'000 - 12'060, '\0');
    }
    IoBuffer buffer;
    const auto got = fs->read(f, 0, 200'000, buffer);
    REQUIRE(got);
    CHECK(text_of(*got) == expected);
    CHECK(damage.text() == "");
    session.forget_all();
}

TEST_CASE("a file that is opened for writing later is still the same one") {
    TamperedVolume v;
    v.make_file("f", "mine");
    const std::string lower_path = v.lower_of("f"), spare = v.dir().path("spare");
    REQUIRE(v.unmount());
    const auto real = lower::make_posix_lower_fs();
    Immutable lower(*real);
    lower.name = name_below(lower_path);
    const auto fs = open_fs(lower, v.dir(), {.clean = true});
    auto f = fs->lookup(kRootNode, "f");
    REQUIRE(f);
    IoBuffer buffer;
    REQUIRE(fs->read(f->node, 0, 10, buffer));
    CHECK_FALSE(fs->write(f->node, 0, bytes_of("x"), WriteSource::kCaller, {}));
    put_lower_bytes(spare, lower_bytes(lower_path));
    std::filesystem::rename(spare, lower_path);
    lower.name.clear();
    const auto written = fs->write(f->node, 0, bytes_of("x"), WriteSource::kCaller, {});
    REQUIRE_FALSE(written);
    CHECK(written.error().kind == ErrorKind::kStale);
    fs->forget(f->node, 1);
    v.mount();
}
