// SPDX-License-Identifier: Apache-2.0
// Exported configurations that are brought back in the wrong place, too late, or in spite of what
// is in the way.
#include <sys/stat.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "encfs/volume/file_header.h"
#include "tests/unit/daemon/import_place.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::Imports;
using extencfs::test::of_another_volume;
using extencfs::test::read_file;
using extencfs::test::TempDir;
using extencfs::test::write_file;

namespace {

bool says(const std::string& sentence, std::string_view word) {
    return sentence.find(word) != std::string::npos;
}

// Refused for its keys, with these words.
void check_refused(const Outcome<Notices>& done, std::initializer_list<const char*> words) {
    REQUIRE_FALSE(done);
    INFO(done.error().sentence);
    CHECK(done.error().kind == FailureKind::kKeySlot);
    for (const char* word : words) CHECK(says(done.error().sentence, word));
}

void remove_copies(const Imports& made) {
    ::unlink(made.place.main.c_str());
    ::unlink(made.place.backup.c_str());
}

}  // namespace

TEST_CASE("what was exported before a rotation of keys does not replace what came after it") {
    const Imports made;
    const std::string rotated = made.rotated();
    made.place.put(rotated);
    SECTION("the root is empty") {}
    SECTION("one old file came back") {
        made.add_entry("old");
        for (const char* name : {"a", "b", "c"}) made.add_entry(name, rotated);
    }
    SECTION("all old files came back") {
        made.add_entry("old");
    }
    check_refused(made.import(made.exported), {"rotated", "extencfs.conf and extencfs.conf.bak"});
    CHECK(read_file(made.place.main) == rotated);
    CHECK(read_file(made.place.backup) == rotated);
    CHECK(made.kept().empty());
}

TEST_CASE("what is from before a rotation that was cut short is not brought back") {
    const Imports made;
    const auto rotating = made.rotating();
    SECTION("its file is there") {
        made.add_entry("old");
        write_file(made.place.path(volume::kRotationName), "");
        remove_copies(made);
        const auto before = made.place.names();
        check_refused(made.import(made.exported), {"cut short", "move extencfs.rotation"});
        CHECK(made.place.names() == before);
    }
    SECTION("a file in the root is of later keys") {
        const auto [generation, fits] = GENERATE(std::pair{2U, false}, std::pair{1U, true});
        made.add_entry("old");
        ByteArray<volume::kFileHeaderSize> header{};
        const ByteArray<32> key{};
        volume::encode_header(
            {.cipher = crypto::AeadKind::kAes256Gcm, .key_generation = generation}, key, header);
        write_file(made.place.path("file"), std::string(text_of(header)));
        remove_copies(made);
        if (fits) {
            REQUIRE(made.import(made.exported));
            return;
        }
        check_refused(made.import(made.exported), {"file in ", "later keys"});
    }
    REQUIRE(made.import(rotating));
    CHECK(volume::is_rotating(*volume::parse_config(read_file(made.place.main))));
}

TEST_CASE("a configuration from before a rotation, which came back, is told apart") {
    const Imports made;
    const std::string rotated = made.rotated();
    made.add_entry("a", rotated);
    check_refused(made.import(rotated), {"came back from before", "move extencfs.conf and "});
    remove_copies(made);
    REQUIRE(made.import(rotated));
}

TEST_CASE("what was exported before a rotation replaces none beside an old copy that came back") {
    const Imports made;
    const std::string rotated = made.rotated();
    for (const std::string& name : {made.place.main, made.place.backup}) {
        made.place.put(rotated);
        write_file(name, made.exported);
        check_refused(made.import(made.exported), {"rotated"});
        CHECK(read_file(name) == made.exported);
        CHECK(made.kept().empty());
    }
}

TEST_CASE("a configuration that somebody changed is not passed over, but can be moved away") {
    const Imports made;
    auto json = nlohmann::json::parse(made.exported);
    json["revision"] = (std::uint64_t{1} << 53) - 1;
    made.place.put(json.dump());
    check_refused(made.import(made.exported), {"somebody changed", "move"});
    CHECK(made.place.names().size() == 3);  // the lock's file
    remove_copies(made);
    REQUIRE(made.import(made.exported));
    CHECK(made.place.opens("right"));
}

TEST_CASE("where no configuration is left, most names must be of the keys") {
    const Imports made;
    const std::string rotated = made.rotated();
    const std::string damage = GENERATE("", "{ cut off");
    remove_copies(made);
    if (!damage.empty()) made.place.put(damage);
    made.add_entry("old 1");
    SECTION("one of several is") {
        for (const char* name : {"a", "b", "c"}) made.add_entry(name, rotated);
        check_refused(made.import(made.exported), {"1 of 4", "rotated"});
        CHECK(made.kept().empty());
        REQUIRE(made.import(rotated));
    }
    SECTION("half of them are") {
        made.add_entry(std::string(200, 'l'), rotated);
        check_refused(made.import(made.exported), {"1 of 2"});
    }
    SECTION("all but one are, also long ones; what has no name of the format does not count") {
        made.add_entry(std::string(200, 'l'));
        made.add_entry("a", rotated);
        for (const char* name : {".stfolder", ".DS_Store", "README", "desktop.ini"}) {
            write_file(made.place.path(name), "");
        }
        REQUIRE(made.import(made.exported));
    }
}

TEST_CASE("a copy of another volume is put aside, where the other one says whose the volume is") {
    const Imports made;
    const std::string other = of_another_volume();
    for (const std::string& name : {made.place.main, made.place.backup}) {
        made.place.put(made.exported);
        write_file(name, other);
        const auto notices = made.import(made.exported);
        REQUIRE(notices);
        REQUIRE(notices->size() == 1);
        CHECK(says(notices->front(), "is of another volume and is kept as extencfs.conf.old."));
        CHECK(made.place.opens("right"));
        CHECK(read_file(made.place.main) == read_file(made.place.backup));
    }
    CHECK(made.kept() == std::vector<std::string>{other, other});
}

TEST_CASE("a copy of another volume stays, where that may be whose the volume is") {
    const Imports made;
    const std::string other = of_another_volume();
    std::string name = made.place.main;
    SECTION("alone") {
        ::unlink(made.place.backup.c_str());
        write_file(name, other);
        check_refused(made.import(made.exported), {"extencfs.conf in ", "another volume"});
    }
    SECTION("the backup, alone") {
        ::unlink(name.c_str());
        name = made.place.backup;
        write_file(name, other);
        check_refused(made.import(made.exported), {"extencfs.conf.bak in ", "another volume"});
    }
    SECTION("beside one that cannot be read") {
        made.place.put("{");
        write_file(name, other);
        check_refused(made.import(made.exported), {"extencfs.conf in "});
    }
    SECTION("the names are its own") {
        write_file(name, other);
        made.add_entry("a", other);
        check_refused(made.import(made.exported), {"0 of 1"});
    }
    CHECK(read_file(name) == other);
    CHECK(made.kept().empty());
}

TEST_CASE("a backup of a newer program is left alone") {
    const Imports made;
    auto json = nlohmann::json::parse(made.exported);
    json["version"] = 2;
    write_file(made.place.backup, json.dump());
    CHECK(made.import(made.exported).error().kind == FailureKind::kUnsupported);
    CHECK(read_file(made.place.backup) == json.dump());
}

TEST_CASE("a copy that only may not be opened is not put aside") {
    const Imports made;
    write_file(made.place.main, "damaged");
    // A link is not followed: it fails to open, whoever runs this.
    ::unlink(made.place.backup.c_str());
    REQUIRE(::symlink("/nowhere", made.place.backup.c_str()) == 0);
    const auto done = made.import(made.exported);
    REQUIRE_FALSE(done);
    CHECK(done.error().kind == FailureKind::kConfigRead);
    CHECK(says(done.error().sentence, "extencfs.conf.bak cannot be read"));
    CHECK(read_file(made.place.main) == "damaged");
    CHECK(made.kept().empty());
}

TEST_CASE("a directory that is no volume takes none, and keeps nothing") {
    const Imports made;
    const TempDir dir;
    const auto import = [&]() -> Outcome<Notices> {
        auto begun = HeaderImport::prepare(*made.fs, dir.path(), "F", made.exported);
        if (!begun) return std::unexpected(begun.error());
        return begun->finish(test::kPassword);
    };
    std::vector<std::string> before;
    const auto names = [&] {
        std::vector<std::string> all;
        for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
            all.push_back(entry.path().filename());
        return all;
    };
    SECTION("empty") {
        CHECK(import().error().kind == FailureKind::kCipherDir);
    }
    SECTION("empty but for what mkfs makes") {
        REQUIRE(::mkdir((dir / "lost+found").c_str(), 0700) == 0);
        before = names();
        CHECK(import().error().kind == FailureKind::kCipherDir);
    }
    SECTION("plain files") {
        write_file(dir / "letter", "");
        before = names();
        CHECK(import().error().kind == FailureKind::kKeySlot);
    }
    SECTION("another program's volume") {
        const auto [mark, program] =
            GENERATE(std::pair{".encfs6.xml", "EncFS"}, std::pair{".encfs5", "EncFS"},
                     std::pair{".encfs4", "EncFS"}, std::pair{".encfs7", "EncFS"},
                     std::pair{"gocryptfs.conf", "gocryptfs"}, std::pair{"cryfs.config", "CryFS"});
        write_file(dir / mark, "");
        before = names();
        const auto failed = import();
        CHECK(failed.error().kind == FailureKind::kCipherDir);
        CHECK(says(failed.error().sentence, program));
    }
    SECTION("a wrong secret") {
        write_file(dir / "letter", "");
        before = names();
        auto begun = HeaderImport::prepare(*made.fs, dir.path(), "F", made.exported);
        REQUIRE(begun);
        // Whoever is asked for the secret may go away.
        CHECK(names() == before);
        CHECK_FALSE(begun->finish(bytes_of("wrong")));
        { const auto gone = std::move(*begun); }
    }
    CHECK(names() == before);
}

TEST_CASE("a volume that lost its configuration keeps its state, and takes it back") {
    const Imports made;
    remove_copies(made);
    write_file(made.place.path(volume::kStateName), "clean\n");
    CHECK(made.import(made.exported, "wrong").error().kind == FailureKind::kWrongPassword);
    CHECK(read_file(made.place.path(volume::kStateName)) == "clean\n");
    REQUIRE(made.import(made.exported));
    CHECK(made.place.opens("right"));
}
