// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/key_editor.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "encfs/daemon/format1_source.h"
#include "encfs/daemon/log.h"
#include "encfs/volume/recovery_key.h"
#include "tests/unit/daemon/key_place.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::KeyPlace;
using extencfs::test::kOther;
using extencfs::test::read_file;
using extencfs::test::write_file;

namespace {

const auto kQuick = crypto::kArgon2Least;

// The bytes of a file whatever becomes of its name.
class WatchedFile {
  public:
    explicit WatchedFile(const std::string& path)
        : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
        REQUIRE(fd_);
    }
    std::string text() const {
        std::string bytes(1 << 16, '?');
        const ssize_t got = ::pread(fd_.get(), bytes.data(), bytes.size(), 0);
        REQUIRE(got >= 0);
        bytes.resize(static_cast<std::size_t>(got));
        return bytes;
    }
    bool is_overwritten() const {
        const std::string now = text();
        return !now.empty() && std::ranges::all_of(now, [](char c) { return c == '\0'; });
    }

  private:
    lower::Fd fd_;
};

}  // namespace

TEST_CASE("keys are added, changed and removed") {
    const KeyPlace place;
    const auto fs = lower::make_posix_lower_fs();
    {
        auto editor = place.open(*fs);
        const auto recovery = volume::new_recovery_key();
        REQUIRE(recovery);
        const auto added =
            editor.add({.kind = volume::SlotKind::kRecovery, .cost = kQuick, .label = "paper"},
                       recovery->bytes());
        REQUIRE(added);
        CHECK(added->slot == 3);
        CHECK(added->notices.empty());
        CHECK(place.opens({volume::SlotKind::kRecovery, recovery->bytes()}));
        REQUIRE(editor.change(1, kQuick, bytes_of("new")));
        CHECK_FALSE(place.opens("right"));
        CHECK(place.opens("new"));
        REQUIRE(editor.remove(3));
        CHECK_FALSE(place.opens({volume::SlotKind::kRecovery, recovery->bytes()}));
        CHECK(editor.remove(3).error().kind == FailureKind::kKeySlot);
        CHECK(editor.change(3, kQuick, bytes_of("x")).error().kind == FailureKind::kKeySlot);
    }
    CHECK(place.opens(kOther));
    CHECK(read_file(place.main) == read_file(place.backup));
    CHECK(place.names() ==
          std::vector<std::string>{"extencfs.conf", "extencfs.conf.bak", "extencfs.state"});
}

TEST_CASE("a change keeps mode and owner of the configuration") {
    const KeyPlace place;
    REQUIRE(::chmod(place.main.c_str(), 0640) == 0);
    const bool root = ::geteuid() == 0;
    if (root) REQUIRE(::chown(place.main.c_str(), 1234, 1235) == 0);
    const auto fs = lower::make_posix_lower_fs();
    REQUIRE(place.open(*fs).remove(2));
    struct stat is {};
    REQUIRE(::stat(place.main.c_str(), &is) == 0);
    CHECK((is.st_mode & 07777U) == 0640U);
    if (root) CHECK((is.st_uid == 1234 && is.st_gid == 1235));
}

TEST_CASE("one change at a time, and none while the volume is written") {
    const KeyPlace place;
    const auto fs = lower::make_posix_lower_fs();
    auto editor = std::optional(place.open(*fs));
    CHECK(KeyEditor::open(*fs, place.path()).error().kind == FailureKind::kLocked);
    editor.reset();
    const auto disk = VolumeOnDisk::open(*fs, place.path());
    auto mounted = WriterLock::acquire(*fs, disk->root_fd());
    REQUIRE(mounted);
    CHECK(KeyEditor::open(*fs, place.path()).error().kind == FailureKind::kLocked);
}

// What was read before the lock was had may be older than a change that ended just then.
TEST_CASE("a mount that waited for a change of keys opens with the new ones and keeps them") {
    const KeyPlace place;
    const auto fs = lower::make_posix_lower_fs();
    auto disk = VolumeOnDisk::open(*fs, place.path());
    REQUIRE(disk);
    auto source = Format1Source::open(std::move(*disk));
    REQUIRE(source);
    REQUIRE(place.open(*fs).change(1, kQuick, bytes_of("new")));
    const std::string changed = read_file(place.main);
    bool shared = false;
    REQUIRE((*source)->reserve(false, shared));
    CHECK((*source)->unlock(test::kPassword).error().kind == FailureKind::kWrongPassword);
    REQUIRE((*source)->unlock(bytes_of("new")));
    Log log;
    (*source)->mend(log);
    CHECK(read_file(place.main) == changed);
    CHECK(read_file(place.backup) == changed);
}

TEST_CASE("changing keys does not call a volume clean that is not") {
    const KeyPlace place;
    write_file(place.path(volume::kStateName), "dirty\n");
    const auto fs = lower::make_posix_lower_fs();
    REQUIRE(place.open(*fs).remove(2));
    CHECK(read_file(place.path(volume::kStateName)) == "dirty\n");
}

TEST_CASE("what is no volume gets no lock file") {
    const extencfs::test::TempDir dir;
    const auto fs = lower::make_posix_lower_fs();
    CHECK(KeyEditor::open(*fs, dir.path()).error().kind == FailureKind::kCipherDir);
    CHECK(std::filesystem::is_empty(dir.path()));
}

TEST_CASE("a named slot is looked for before anything is derived") {
    const KeyPlace place;
    const auto fs = lower::make_posix_lower_fs();
    auto editor = KeyEditor::open(*fs, place.path());
    REQUIRE(editor);
    const auto by = [&](volume::SlotKind kind, std::uint32_t slot) {
        return editor->unlock({kind, bytes_of("right"), slot}).error().kind;
    };
    CHECK(by(volume::SlotKind::kPassword, 9) == FailureKind::kKeySlot);
    CHECK(by(volume::SlotKind::kKeyfile, 1) == FailureKind::kKeySlot);
    CHECK(by(volume::SlotKind::kPassword, 2) == FailureKind::kWrongPassword);
}

TEST_CASE("the old bytes of a changed or removed slot are overwritten") {
    const KeyPlace place;
    const WatchedFile main(place.main);
    const WatchedFile backup(place.backup);
    write_file(place.path("extencfs.conf.new.0123"), read_file(place.main));
    const WatchedFile leftover(place.path("extencfs.conf.new.0123"));
    const auto fs = lower::make_posix_lower_fs();
    const auto removed = place.open(*fs).remove(2);
    REQUIRE(removed);
    CHECK(removed->notices.empty());
    CHECK(main.is_overwritten());
    CHECK(backup.is_overwritten());
    CHECK(leftover.is_overwritten());
    CHECK(place.opens("right"));
    CHECK_FALSE(place.opens(kOther));
    CHECK(place.names().size() == 3);
}

TEST_CASE("a file that has another name keeps its bytes, and that is told") {
    const KeyPlace place;
    const std::string before = read_file(place.main);
    REQUIRE(::link(place.main.c_str(), place.path("kept").c_str()) == 0);
    const WatchedFile backup(place.backup);
    const auto fs = lower::make_posix_lower_fs();
    const auto removed = place.open(*fs).remove(2);
    REQUIRE(removed);
    REQUIRE(removed->notices.size() == 1);
    CHECK(removed->notices[0].find("another name") != std::string::npos);
    CHECK(read_file(place.path("kept")) == before);
    CHECK(backup.is_overwritten());
}

TEST_CASE("both copies being one file is no reason to overwrite it early") {
    const KeyPlace place;
    REQUIRE(::unlink(place.backup.c_str()) == 0);
    REQUIRE(::link(place.main.c_str(), place.backup.c_str()) == 0);
    const WatchedFile old(place.main);
    const auto fs = lower::make_posix_lower_fs();
    const auto removed = place.open(*fs).remove(2);
    REQUIRE(removed);
    CHECK(removed->notices.empty());
    CHECK(old.is_overwritten());
    CHECK(place.opens("right"));
}

TEST_CASE("a mount that mends the copies overwrites what it replaces") {
    const KeyPlace place;
    const std::string old = read_file(place.main);
    const auto fs = lower::make_posix_lower_fs();
    REQUIRE(place.open(*fs).remove(2));
    // Killed after the first copy.
    write_file(place.backup, old);
    const WatchedFile backup(place.backup);
    const auto disk = VolumeOnDisk::open(*fs, place.path());
    REQUIRE(disk->repair_config(read_file(place.main)));
    CHECK(read_file(place.backup) == read_file(place.main));
    CHECK(backup.is_overwritten());
}
