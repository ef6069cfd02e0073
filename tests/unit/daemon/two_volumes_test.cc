// SPDX-License-Identifier: Apache-2.0
// Copies of two volumes in one directory: neither is used, and neither is lost.
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "encfs/daemon/format1_source.h"
#include "tests/unit/daemon/key_place.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::KeyPlace;
using extencfs::test::of_another_volume;
using extencfs::test::read_file;
using extencfs::test::write_file;

namespace {

// With a revision above that of the volume here; so that it is not authentic matters to nobody who
// has not unlocked it.
std::string newer(const std::string& text) {
    auto json = nlohmann::json::parse(text);
    json["revision"] = 1000;
    return json.dump();
}

std::string of_a_newer_program(const std::string& text) {
    auto json = nlohmann::json::parse(text);
    json["features"] = {"from-the-future"};
    return json.dump();
}

struct Strayed {
    KeyPlace place;
    std::unique_ptr<lower::LowerFs> fs = lower::make_posix_lower_fs();
    std::string own = read_file(place.main);
    VolumeOnDisk disk = *VolumeOnDisk::open(*fs, place.path());
};

}  // namespace

TEST_CASE("copies of two volumes are refused, and left as they are") {
    const Strayed here;
    for (const std::string& other : {of_another_volume(), newer(of_another_volume())}) {
        for (const std::string& name : {here.place.main, here.place.backup}) {
            here.place.put(here.own);
            write_file(name, other);
            const auto copies = here.disk.read_config();
            REQUIRE_FALSE(copies);
            CHECK(copies.error().kind == FailureKind::kDamage);
            for (const char* word :
                 {"extencfs.conf and extencfs.conf.bak", "; ", "import-header"}) {
                INFO(copies.error().sentence);
                CHECK(copies.error().sentence.find(word) != std::string::npos);
            }
            CHECK(KeyEditor::open(*here.fs, here.place.path()).error().kind ==
                  FailureKind::kDamage);
            CHECK_FALSE(Format1Source::open(*VolumeOnDisk::open(*here.fs, here.place.path())));
            CHECK(read_file(name) == other);
            CHECK(read_file(name == here.place.main ? here.place.backup : here.place.main) ==
                  here.own);
        }
    }
}

// A sync program may put it there after the configuration was read.
TEST_CASE("what is of another volume, or of a newer program, is never written over") {
    const Strayed here;
    for (const std::string& stray : {of_another_volume(), of_a_newer_program(here.own)}) {
        for (const std::string& name : {here.place.main, here.place.backup}) {
            here.place.put(here.own);
            auto editor = here.place.open(*here.fs);
            write_file(name, stray);
            CHECK_FALSE(here.disk.repair_config(here.own));
            CHECK_FALSE(change_config(here.disk, here.own));
            CHECK_FALSE(editor.remove(2));
            CHECK(read_file(name) == stray);
            CHECK(read_file(name == here.place.main ? here.place.backup : here.place.main) ==
                  here.own);
        }
    }
}

TEST_CASE("a changed character of the volume's id is damage, and mended") {
    const Strayed here;
    auto json = nlohmann::json::parse(here.own);
    auto id = json["volume_id"].get<std::string>();
    id[3] = id[3] == '0' ? '1' : '0';
    json["volume_id"] = id;
    REQUIRE(volume::parse_config(json.dump()));
    for (const std::string& name : {here.place.main, here.place.backup}) {
        here.place.put(here.own);
        write_file(name, json.dump());
        const auto copies = here.disk.read_config();
        REQUIRE(copies);
        const auto opened = VolumeOnDisk::unlock(*copies, test::kPassword);
        REQUIRE(opened);
        CHECK(opened->text == here.own);
        REQUIRE(here.disk.repair_config(opened->text));
        CHECK(read_file(name) == here.own);
    }
}

TEST_CASE("one copy of another volume, alone, is that volume") {
    const Strayed here;
    const std::string other = of_another_volume();
    write_file(here.place.backup, other);
    REQUIRE(::unlink(here.place.main.c_str()) == 0);
    CHECK(here.place.opens("right"));
    REQUIRE(here.disk.repair_config(other));
    CHECK(read_file(here.place.main) == other);
}

TEST_CASE("who changes or removes a key is told of configurations that were put aside") {
    const Strayed here;
    write_file(here.place.path("extencfs.conf.old.0001"), here.own);
    write_file(here.place.path("extencfs.conf.old.0002"), "{ cut off");
    write_file(here.place.path("extencfs.conf.old.0003"), of_another_volume());
    auto editor = here.place.open(*here.fs);
    const auto check = [](const Outcome<ChangedSlot>& done) {
        REQUIRE(done);
        REQUIRE(done->notices.size() == 2);
        CHECK(done->notices[0].find("extencfs.conf.old.0001") != std::string::npos);
        CHECK(done->notices[1].find("extencfs.conf.old.0002") != std::string::npos);
    };
    check(editor.change(1, crypto::kArgon2Least, bytes_of("new")));
    check(editor.remove(1));
    const auto added = editor.add({.cost = crypto::kArgon2Least}, bytes_of("third"));
    REQUIRE(added);
    CHECK(added->notices.empty());
    CHECK(read_file(here.place.path("extencfs.conf.old.0001")) == here.own);
}
