// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/header_import.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tests/unit/daemon/import_place.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::Imports;
using extencfs::test::kOther;
using extencfs::test::of_another_volume;
using extencfs::test::read_file;
using extencfs::test::write_file;

TEST_CASE("an exported configuration comes back above the present one") {
    const Imports made;
    REQUIRE(made.place.open(*made.fs).change(1, crypto::kArgon2Least, bytes_of("new")));
    REQUIRE(made.place.open(*made.fs, "new").add({.cost = crypto::kArgon2Least}, bytes_of("x")));
    const auto before = volume::parse_config(read_file(made.place.main));
    const auto notices = made.import(made.exported);
    REQUIRE(notices);
    CHECK(notices->empty());
    const auto after = volume::parse_config(read_file(made.place.main));
    CHECK(after->revision == before->revision + 1);
    CHECK(after->next_slot_id == before->next_slot_id);
    CHECK(made.place.opens("right"));
    CHECK_FALSE(made.place.opens("new"));
    CHECK_FALSE(made.place.opens("x"));
    CHECK(made.kept().empty());
    CHECK(read_file(made.place.main) == read_file(made.place.backup));
}

TEST_CASE("a configuration of another volume is not taken") {
    const Imports made;
    const std::string other = of_another_volume();
    CHECK(made.import(other).error().kind == FailureKind::kKeySlot);
    CHECK(read_file(made.place.main) == made.exported);
    // Nor where nothing tells but the names.
    made.add_entry();
    for (const std::string& name : {made.place.main, made.place.backup}) write_file(name, "{");
    CHECK(made.import(other).error().kind == FailureKind::kKeySlot);
    for (const std::string& name : {made.place.main, made.place.backup}) {
        CHECK(read_file(name) == "{");
        ::unlink(name.c_str());
    }
    CHECK(made.import(other).error().kind == FailureKind::kKeySlot);
    CHECK_FALSE(std::filesystem::exists(made.place.main));
    REQUIRE(made.import(made.exported));
    CHECK(made.place.opens("right"));
}

TEST_CASE("what no secret opens, or somebody changed, is not taken") {
    const Imports made;
    CHECK(made.import(made.exported, "wrong").error().kind == FailureKind::kWrongPassword);
    auto json = nlohmann::json::parse(made.exported);
    json["slots"][0]["label"] = "changed";
    CHECK(made.import(json.dump()).error().kind == FailureKind::kDamage);
    CHECK(made.import("{").error().kind == FailureKind::kDamage);
    json["version"] = 2;
    CHECK(made.import(json.dump()).error().kind == FailureKind::kUnsupported);
    CHECK(read_file(made.place.main) == made.exported);
    CHECK(read_file(made.place.backup) == made.exported);
}

TEST_CASE("a configuration that cannot be read is kept when another is brought back") {
    const Imports made;
    write_file(made.place.main, "main, damaged");
    SECTION("one of two") {
        const auto notices = made.import(made.exported);
        REQUIRE(notices);
        CHECK(notices->size() == 1);
        CHECK(made.kept() == std::vector<std::string>{"main, damaged"});
    }
    SECTION("both") {
        write_file(made.place.backup, "backup, damaged");
        made.add_entry();
        const auto notices = made.import(made.exported);
        REQUIRE(notices);
        CHECK(notices->size() == 2);
        CHECK(made.kept() == std::vector<std::string>{"backup, damaged", "main, damaged"});
    }
    SECTION("the other is missing") {
        ::unlink(made.place.backup.c_str());
        REQUIRE(made.import(made.exported));
        CHECK(made.kept() == std::vector<std::string>{"main, damaged"});
    }
    SECTION("one that is no file") {
        ::unlink(made.place.main.c_str());
        REQUIRE(::mkdir(made.place.main.c_str(), 0700) == 0);
        REQUIRE(made.import(made.exported));
        CHECK(std::ranges::count_if(made.place.names(), [](const std::string& name) {
                  return name.starts_with("extencfs.conf.old.");
              }) == 1);
    }
    CHECK(made.place.opens("right"));
    CHECK(made.place.opens(kOther));
}

TEST_CASE("a newer program's configuration is left alone") {
    const Imports made;
    auto json = nlohmann::json::parse(made.exported);
    json["version"] = 2;
    write_file(made.place.main, json.dump());
    CHECK(made.import(made.exported).error().kind == FailureKind::kUnsupported);
    CHECK(read_file(made.place.main) == json.dump());
}

TEST_CASE("nothing is brought back while the volume is written") {
    const Imports made;
    const auto disk = VolumeOnDisk::open(*made.fs, made.place.path());
    const auto mounted = WriterLock::acquire(*made.fs, disk->root_fd());
    REQUIRE(mounted);
    CHECK(made.import(made.exported).error().kind == FailureKind::kLocked);
}
