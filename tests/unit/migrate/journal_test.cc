// SPDX-License-Identifier: Apache-2.0
// The migration journal: what is written is read, and what is torn is not believed.
#include <catch2/catch.hpp>

#include <fcntl.h>
#include <unistd.h>

#include "encfs/migrate/journal.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/fake/scratch_dir.h"

using namespace extencfs;
using namespace extencfs::migrate;

namespace {

struct stat attr_of(std::uint64_t ino, std::int64_t size = 5) {
    struct stat attr {};
    attr.st_ino = ino;
    attr.st_size = size;
    attr.st_mtim = {1'000'000, 123'456'789};
    return attr;
}

Journal open_journal(lower::LowerFs& fs, const fake::ScratchDir& dir) {
    auto journal = Journal::open(fs, dir.fd());
    REQUIRE(journal);
    REQUIRE(journal->has_value());
    return std::move(**journal);
}

off_t size_of(const fake::ScratchDir& dir) {
    struct stat is {};
    REQUIRE(::stat(dir.path(kJournalName).c_str(), &is) == 0);
    return is.st_size;
}

}  // namespace

TEST_CASE("the journal's bytes are those of its specification") {
    const auto header = encode_header({.old_volume = 0x1122334455667788, .salt = 1});
    CHECK(text_of(Bytes(header).first(8)) == "XCFSMIGR");
    CHECK(header[8] == std::byte{1});
    CHECK(header[16] == std::byte{0x88});
    REQUIRE(decode_header(header));
    CHECK(decode_header(header)->old_volume == 0x1122334455667788);
    auto bad = header;
    bad[20] ^= std::byte{1};
    CHECK_FALSE(decode_header(bad));
    CHECK_FALSE(decode_header(Bytes(header).first(63)));

    const Record record{1, 999'999'999, 42, 1 << 20, -7};
    const auto bytes = encode_record(record, 9);
    CHECK(decode_record(bytes, 9) == record);
    CHECK_FALSE(decode_record(bytes, 8));
    CHECK_FALSE(decode_record(ByteArray<kRecordSize>{}, 9));
}

TEST_CASE("a journal tells what was appended, also to the next who opens it") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto fs = lower::make_posix_lower_fs();
    CHECK_FALSE(Journal::open(*fs, dir.fd())->has_value());
    {
        auto journal = Journal::create(*fs, dir.fd(), 77);
        REQUIRE(journal);
        const Record done[] = {done_record(attr_of(5)), done_record(attr_of(6))};
        REQUIRE(journal->append(done));
        CHECK(journal->is_done(attr_of(5)));
        CHECK_FALSE(journal->is_complete());
    }
    auto journal = open_journal(*fs, dir);
    CHECK(journal.old_volume() == 77);
    CHECK(journal.is_done(attr_of(6)));
    CHECK_FALSE(journal.is_done(attr_of(7)));
    CHECK_FALSE(journal.is_done(attr_of(6, 4)));
    REQUIRE(journal.complete(3));
    journal = open_journal(*fs, dir);
    REQUIRE(journal.is_complete());
    CHECK(journal.missing() == 3);
    REQUIRE(journal.remove());
    CHECK_FALSE(Journal::open(*fs, dir.fd())->has_value());
}

TEST_CASE("a torn record ends the journal, and the next is written over it") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto fs = lower::make_posix_lower_fs();
    {
        auto journal = Journal::create(*fs, dir.fd(), 1);
        const Record done[] = {done_record(attr_of(1)), done_record(attr_of(2)),
                               done_record(attr_of(3))};
        REQUIRE(journal->append(done));
    }
    // The second is torn; the third is whole, but nobody was told of it.
    const int fd = ::open(dir.path(kJournalName).c_str(), O_WRONLY);
    REQUIRE(::pwrite(fd, "x", 1, kHeaderSize + kRecordSize + 9) == 1);
    ::close(fd);
    auto journal = open_journal(*fs, dir);
    CHECK(journal.done_count() == 1);
    const Record more = done_record(attr_of(4));
    REQUIRE(journal.append(std::span(&more, 1)));
    CHECK(size_of(dir) == kHeaderSize + 2 * kRecordSize);
    journal = open_journal(*fs, dir);
    CHECK(journal.is_done(attr_of(1)));
    CHECK_FALSE(journal.is_done(attr_of(3)));
    CHECK(journal.is_done(attr_of(4)));
}

TEST_CASE("many records are read") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto fs = lower::make_posix_lower_fs();
    std::vector<Record> done;
    for (std::uint64_t ino = 1; ino <= 10'000; ++ino) done.push_back(done_record(attr_of(ino)));
    REQUIRE(Journal::create(*fs, dir.fd(), 1)->append(done));
    CHECK(open_journal(*fs, dir).done_count() == 10'000);
}

TEST_CASE("a damaged or newer journal is refused") {
    const auto dir = fake::ScratchDir::in_memory();
    const auto fs = lower::make_posix_lower_fs();
    REQUIRE(Journal::create(*fs, dir.fd(), 1));
    const int fd = ::open(dir.path(kJournalName).c_str(), O_WRONLY);
    REQUIRE(::pwrite(fd, "x", 1, 17) == 1);
    auto journal = Journal::open(*fs, dir.fd());
    REQUIRE_FALSE(journal);
    CHECK(journal.error().kind == daemon::FailureKind::kDamage);
    const auto newer = encode_header({.version = 2});
    REQUIRE(::pwrite(fd, newer.data(), newer.size(), 0) == kHeaderSize);
    ::close(fd);
    journal = Journal::open(*fs, dir.fd());
    REQUIRE_FALSE(journal);
    CHECK(journal.error().kind == daemon::FailureKind::kUnsupported);
}

TEST_CASE("a journal is there whole or not at all, whenever its making is killed") {
    for (std::uint64_t n = 1;; ++n) {
        INFO("died at call " << n);
        const auto dir = fake::ScratchDir::in_memory();
        fake::FaultLowerFs fs;
        fs.die_at(n);
        const bool made = Journal::create(fs, dir.fd(), 1).has_value();
        const bool died = fs.dead();
        fs.revive();
        CHECK(Journal::open(fs, dir.fd()));
        CHECK(Journal::create(fs, dir.fd(), 2));
        CHECK(open_journal(fs, dir).old_volume() == 2);
        if (!died) {
            CHECK(made);
            break;
        }
    }
}

TEST_CASE("a journal in place has room on a full disk, and its zeros are its end") {
    const auto dir = fake::ScratchDir::in_memory();
    fake::FaultLowerFs fs;
    {
        auto journal = Journal::create(fs, dir.fd(), 5, Form::kInPlace);
        REQUIRE(journal);
        REQUIRE(journal->make_room(100));
        const off_t size = size_of(dir);
        CHECK(size == static_cast<off_t>(kHeaderSize + 100 * kRecordSize));
        auto attr = attr_of(42);
        attr.st_mode = S_IFDIR | 02750;
        attr.st_atim = {5, 6};
        REQUIRE(journal->append(directory_records(attr)));
        const Record removing{.type = static_cast<std::uint32_t>(RecordType::kRemoving)};
        REQUIRE(journal->append(std::span(&removing, 1)));
        CHECK(size_of(dir) == size);
        CHECK(fs.count(fake::Calls::named("truncate")) == 0);
    }
    auto journal = Journal::open(fs, dir.fd(), Form::kInPlace);
    REQUIRE((journal && *journal));
    CHECK((*journal)->is_removing());
    CHECK_FALSE((*journal)->moving());
    const auto saved = (*journal)->directory(42);
    REQUIRE(saved);
    CHECK(saved->mode == (S_IFDIR | 02750));
    CHECK(saved->atime.tv_nsec == 6);
    CHECK(saved->mtime.tv_nsec == 123'456'789);
    // One form is not the other.
    const auto other = Journal::open(fs, dir.fd());
    REQUIRE_FALSE(other);
    CHECK(other.error().kind == daemon::FailureKind::kUnsupported);
}

TEST_CASE("what a torn writing left behind in a journal in place never comes back") {
    const auto dir = fake::ScratchDir::in_memory();
    fake::FaultLowerFs fs;
    const Record first = done_record(attr_of(1));
    const Record removing{.type = static_cast<std::uint32_t>(RecordType::kRemoving)};
    {
        auto journal = Journal::create(fs, dir.fd(), 5, Form::kInPlace);
        REQUIRE(journal);
        REQUIRE(journal->make_room(100));
        const std::array records{first, removing};
        REQUIRE(journal->append(records));
    }
    // The first of the two is torn; what follows was never told to anybody.
    const int fd = ::open(dir.path(kJournalName).c_str(), O_RDWR);
    REQUIRE(::pwrite(fd, "torn", 4, kHeaderSize + 8) == 4);
    ::close(fd);
    for (int time = 0; time < 2; ++time) {
        auto journal = Journal::open(fs, dir.fd(), Form::kInPlace);
        REQUIRE((journal && *journal));
        CHECK_FALSE((*journal)->is_removing());
        const Record other = done_record(attr_of(7));
        REQUIRE((*journal)->append(std::span(&other, 1)));
    }
    auto journal = Journal::open(fs, dir.fd(), Form::kInPlace);
    REQUIRE((journal && *journal));
    CHECK_FALSE((*journal)->is_removing());
    CHECK((*journal)->is_done(attr_of(7)));
    CHECK_FALSE((*journal)->is_done(attr_of(1)));
}
