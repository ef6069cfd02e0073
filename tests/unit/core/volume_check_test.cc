// SPDX-License-Identifier: Apache-2.0
// A check finds each kind of damage, names it, and changes nothing.
#include <catch2/catch.hpp>

#include <filesystem>
#include <fstream>
#include <map>

#include "encfs/core/volume_check.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/legacy_volume_for_tests.h"
#include "tests/unit/core/volume_for_tests.h"

using namespace extencfs;
using namespace extencfs::core;

namespace {

class Checked {
  public:
    explicit Checked(const LegacyVolume* volume)
        : volume_(volume), dir_(fake::ScratchDir::in_memory()) {
        auto fs = open_fs(lower_, dir_, {.clean = true, .legacy = volume});
        auto made = fs->mkdir(kRootNode, "directory", 0755, {});
        REQUIRE(made);
        auto file = fs->create(made->node, "file", 0644, {});
        REQUIRE(file);
        REQUIRE(fs->write(file->node, 0, bytes_of(std::string(300'000, 'x')), WriteSource::kCaller,
                          {}));
        REQUIRE(fs->symlink(made->node, "link", "file", {}));
        REQUIRE(fs->create(kRootNode, "empty", 0644, {}));
        REQUIRE(fs->finish());
    }

    CheckCounts check() {
        found.clear();
        DamageNotes notes;
        const FormatHost host{.read_only = true, .on_damage = [&](int fd, const std::string& what) {
                                  notes.note(fd, what);
                              }};
        const auto format =
            volume_ != nullptr ? legacy_format(*volume_)(host) : format1(keys_for_tests())(host);
        const CheckHooks hooks{
            .found = [this](const Finding& one) { found.push_back(one); },
            .kind_of_name = [](const std::string&,
                               std::string_view entry) { return kind_of_foreign(entry); }};
        lower_.forget_calls();
        const auto counts = check_volume(lower_, dir_.fd(), *format, notes, hooks);
        REQUIRE(counts);
        CHECK(lower_.count(fake::Calls::mutating()) == 0);
        return *counts;
    }
    NameCount count(std::uint64_t most = 1000) {
        const FormatHost host{.read_only = true};
        const auto format =
            volume_ != nullptr ? legacy_format(*volume_)(host) : format1(keys_for_tests())(host);
        return count_undecodable(lower_, dir_.fd(), *format, most, [] { return false; });
    }
    // The largest file below.
    std::filesystem::path file() const {
        std::filesystem::path largest;
        for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_.path())) {
            if (entry.is_symlink() || !entry.is_regular_file()) continue;
            if (largest.empty() || entry.file_size() > std::filesystem::file_size(largest))
                largest = entry.path();
        }
        return largest;
    }
    void flip(std::uint64_t at) const {
        std::fstream stream(file(), std::ios::in | std::ios::out | std::ios::binary);
        stream.seekg(static_cast<std::streamoff>(at));
        const int byte = stream.get();
        stream.seekp(static_cast<std::streamoff>(at));
        stream.put(static_cast<char>(byte ^ 1));
    }
    const fake::ScratchDir& dir() const { return dir_; }

    std::vector<Finding> found;

  private:
    const LegacyVolume* volume_;
    fake::ScratchDir dir_;
    fake::FaultLowerFs lower_;
};

const LegacyVolume& paranoia() {
    static const auto volume =
        legacy_volume({1024, 8, 0, true, true, false}, legacy::NameScheme::kBlock, true, true);
    return volume;
}

}  // namespace

TEST_CASE("a whole volume of either kind has no findings", "[legacy]") {
    for (const LegacyVolume* volume : {&paranoia(), static_cast<const LegacyVolume*>(nullptr)}) {
        Checked checked(volume);
        const auto counts = checked.check();
        CHECK(checked.found.empty());
        CHECK(counts.directories == 2);
        CHECK(counts.files == 2);
        CHECK(counts.symlinks == 1);
        CHECK(counts.bytes == 300'000);
        CHECK(checked.count().undecodable == 0);
        CHECK(checked.count().all);
    }
}

TEST_CASE("a check names what is damaged", "[legacy]") {
    for (const LegacyVolume* volume : {&paranoia(), static_cast<const LegacyVolume*>(nullptr)}) {
        INFO((volume != nullptr ? "EncFS" : "format 1"));
        {
            Checked checked(volume);
            checked.flip(200'000);
            checked.flip(2000);
            const auto counts = checked.check();
            REQUIRE(checked.found.size() == 1);
            CHECK(checked.found[0].kind == FindingKind::kContents);
            CHECK(checked.found[0].plain == "directory/file");
            CHECK(checked.dir().path(checked.found[0].lower) == checked.file());
            CHECK(checked.found[0].what.find("other place") != std::string::npos);
            CHECK(counts.bytes < 300'000);
        }
        {
            Checked checked(volume);
            std::filesystem::rename(checked.file(), checked.file().parent_path() / "moved,file");
            (void)checked.check();
            REQUIRE(checked.found.size() == 1);
            CHECK(checked.found[0].lower.ends_with("/moved,file"));
            CHECK(checked.count().undecodable == 1);
        }
        {
            Checked checked(volume);
            std::filesystem::resize_file(checked.file(), 5);
            (void)checked.check();
            REQUIRE(checked.found.size() == 1);
            CHECK(checked.found[0].kind == FindingKind::kContents);
        }
        {
            Checked checked(volume);
            for (const auto& entry :
                 std::filesystem::recursive_directory_iterator(checked.dir().path())) {
                if (!entry.is_symlink()) continue;
                std::filesystem::remove(entry.path());
                std::filesystem::create_symlink("somewhere", entry.path());
                break;
            }
            (void)checked.check();
            REQUIRE(checked.found.size() == 1);
            CHECK(checked.found[0].kind == FindingKind::kSymlink);
        }
        {
            Checked checked(volume);
            std::ofstream(checked.dir().path("a (conflicted copy)")) << "x";
            std::ofstream(checked.dir().path("notes.txt")) << "x";
            (void)checked.check();
            REQUIRE(checked.found.size() == 2);
            CHECK(checked.found[0].kind == FindingKind::kConflict);
            CHECK(checked.found[1].kind == FindingKind::kForeign);
            CHECK_FALSE(is_damage(checked.found[0].kind));
        }
    }
}

TEST_CASE("a count of names stops where it is told", "[legacy]") {
    Checked checked(&paranoia());
    for (int i = 0; i < 50; ++i)
        std::ofstream(checked.dir().path("no name " + std::to_string(i))) << "x";
    CHECK(checked.count().undecodable == 50);
    const auto some = checked.count(10);
    CHECK(some.undecodable <= 10);
    CHECK_FALSE(some.all);
}
