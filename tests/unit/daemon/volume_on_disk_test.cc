// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/volume_on_disk.h"

#include <unistd.h>

#include "encfs/daemon/volume_create.h"
#include "encfs/volume/slots.h"
#include "tests/unit/daemon/cheap_volume.h"
#include "tests/unit/daemon/temp_dir.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::cheap;
using extencfs::test::kPassword;
using extencfs::test::read_file;
using extencfs::test::TempDir;
using extencfs::test::write_file;

namespace {

struct Made {
    TempDir dir;
    std::unique_ptr<lower::LowerFs> fs = lower::make_posix_lower_fs();
    VolumeOnDisk disk;
    std::string main = dir / volume::kConfigName;
    std::string backup = dir / volume::kConfigBackupName;

    Made() : disk(*VolumeOnDisk::open(*fs, dir.path())) {
        auto creation = VolumeCreation::prepare(disk);
        REQUIRE(creation);
        REQUIRE(creation->finish(cheap(), kPassword));
    }
    Outcome<UnlockedVolume> unlock(Bytes password = kPassword) const {
        const auto copies = disk.read_config();
        if (!copies) return std::unexpected(copies.error());
        return VolumeOnDisk::unlock(*copies, password);
    }
    // The configuration with the revision raised and the password replaced.
    std::string next_text(Bytes password) const {
        auto now = unlock();
        REQUIRE(now);
        volume::Config config = now->config;
        config.slots.clear();
        REQUIRE(volume::add_slot(config, now->volume_key.bytes(),
                                 {.cost = crypto::kArgon2Least, .label = "new"}, password));
        return volume::serialize_config(config, now->volume_key.bytes());
    }
};

void flip(std::string& text, const std::string& after, std::size_t skip) {
    const std::size_t at = text.find(after);
    REQUIRE(at != std::string::npos);
    char& c = text[at + after.size() + skip];
    c = c == 'A' ? 'B' : 'A';
}

}  // namespace

TEST_CASE("a new volume has two equal copies and opens") {
    Made made;
    CHECK(read_file(made.main) == read_file(made.backup));
    CHECK(made.unlock());
    const auto wrong = made.unlock(bytes_of("wrong"));
    REQUIRE_FALSE(wrong);
    CHECK(wrong.error().kind == FailureKind::kWrongPassword);
}

TEST_CASE("each copy alone is enough, and the other is made again") {
    Made made;
    const std::string text = read_file(made.main);
    for (const std::string& lost : {made.main, made.backup}) {
        for (const bool missing : {true, false}) {
            if (missing) {
                REQUIRE(unlink(lost.c_str()) == 0);
            } else {
                write_file(lost, text.substr(0, text.size() / 2));
            }
            const auto open = made.unlock();
            REQUIRE(open);
            CHECK(open->notices.size() == 1);
            const auto rewritten = made.disk.repair_config(open->text);
            REQUIRE(rewritten);
            CHECK(rewritten->size() == 1);
            CHECK(read_file(lost) == text);
            REQUIRE(made.unlock());
            CHECK(made.unlock()->notices.empty());
        }
    }
}

TEST_CASE("no copy is left: no volume, or damage") {
    Made made;
    write_file(made.main, "{");
    write_file(made.backup, "");
    CHECK(made.disk.read_config().error().kind == FailureKind::kDamage);
    unlink(made.backup.c_str());
    CHECK(made.disk.read_config().error().kind == FailureKind::kDamage);
    unlink(made.main.c_str());
    CHECK(made.disk.read_config().error().kind == FailureKind::kCipherDir);
}

TEST_CASE("a changed slot or authentication value in the main copy leads to the backup") {
    Made made;
    const std::string good = read_file(made.main);
    for (const char* member : {"\"salt\": \"", "\"auth\": \"", "\"label\": \""}) {
        std::string bad = good;
        flip(bad, member, 0);
        write_file(made.main, bad);
        const auto open = made.unlock();
        REQUIRE(open);
        CHECK(open->text == good);
        CHECK_FALSE(open->notices.empty());
    }
}

TEST_CASE("both copies changed: damage, never an unlock") {
    Made made;
    std::string bad = read_file(made.main);
    flip(bad, "\"label\": \"", 0);
    write_file(made.main, bad);
    write_file(made.backup, bad);
    CHECK(made.unlock().error().kind == FailureKind::kDamage);
}

TEST_CASE("a password that was replaced does not open the older backup") {
    Made made;
    write_file(made.main, made.next_text(bytes_of("new")));
    CHECK(made.unlock(bytes_of("new")));
    const auto old = made.unlock();
    REQUIRE_FALSE(old);
    CHECK(old.error().kind == FailureKind::kWrongPassword);
}

TEST_CASE("a replayed main copy loses against a newer backup") {
    Made made;
    write_file(made.backup, made.next_text(bytes_of("new")));
    CHECK_FALSE(made.unlock());
    const auto open = made.unlock(bytes_of("new"));
    REQUIRE(open);
    CHECK_FALSE(open->notices.empty());
}

TEST_CASE("a feature that this version does not know is refused, backup or not") {
    Made made;
    std::string text = read_file(made.main);
    const std::string none = "\"features\": []";
    const std::size_t at = text.find(none);
    REQUIRE(at != std::string::npos);
    text.replace(at, none.size(), "\"features\": [\"from-the-future\"]");
    write_file(made.main, text);
    CHECK(made.disk.read_config().error().kind == FailureKind::kUnsupported);
}

TEST_CASE("a configuration that is no regular file is refused without waiting") {
    Made made;
    unlink(made.backup.c_str());
    unlink(made.main.c_str());
    REQUIRE(mkfifo(made.main.c_str(), 0600) == 0);
    CHECK_FALSE(made.disk.read_config());
    unlink(made.main.c_str());
    REQUIRE(symlink("/etc/passwd", made.main.c_str()) == 0);
    CHECK_FALSE(made.disk.read_config());
}

TEST_CASE("only an empty directory takes a new volume") {
    TempDir dir;
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = VolumeOnDisk::open(*fs, dir.path());
    REQUIRE(disk);
    SECTION("something else is there") {
        write_file(dir / "letter", "x");
        CHECK(VolumeCreation::prepare(*disk).error().kind == FailureKind::kCipherDir);
        CHECK_FALSE(std::filesystem::exists(dir / volume::kStateName));
    }
    SECTION("leftovers of an interrupted init are taken away") {
        write_file(dir / "extencfs.conf.new.0011223344556677", "x");
        write_file(dir / volume::kStateName, "");
        std::filesystem::create_directory(dir / "lost+found");
        auto creation = VolumeCreation::prepare(*disk);
        REQUIRE(creation);
        REQUIRE(creation->finish(cheap(), kPassword));
        CHECK_FALSE(std::filesystem::exists(dir / "extencfs.conf.new.0011223344556677"));
    }
    SECTION("given up: nothing stays") {
        { const auto creation = VolumeCreation::prepare(*disk); }
        CHECK(std::filesystem::is_empty(dir.path()));
    }
    SECTION("two at once: one") {
        const auto first = VolumeCreation::prepare(*disk);
        REQUIRE(first);
        const auto second = VolumeCreation::prepare(*disk);
        REQUIRE_FALSE(second);
        CHECK(second.error().kind == FailureKind::kLocked);
    }
}
