// SPDX-License-Identifier: Apache-2.0
// A volume whose keys are changed in a test: two passwords open it, and a derivation costs next to
// nothing.
#pragma once

#include <catch2/catch.hpp>
#include <string>

#include "encfs/daemon/header_import.h"
#include "encfs/daemon/key_editor.h"
#include "encfs/daemon/volume_create.h"
#include "tests/fake/scratch_dir.h"
#include "tests/unit/daemon/cheap_volume.h"
#include "tests/unit/daemon/temp_dir.h"

namespace extencfs::test {

inline const char* const kOther = "other";  // opens slot 2

// The configuration of another volume, which the same password opens.
inline std::string of_another_volume() {
    const TempDir dir;
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, dir.path());
    REQUIRE(disk);
    auto creation = daemon::VolumeCreation::prepare(*disk);
    REQUIRE(creation);
    REQUIRE(creation->finish(cheap(), kPassword));
    return read_file(dir / volume::kConfigName);
}

class KeyPlace {
  public:
    // The same volume each time: making it is most of what a test would cost.
    KeyPlace()
        : main(dir_.path(volume::kConfigName)), backup(dir_.path(volume::kConfigBackupName)) {
        static const std::string text = first_text();
        put(text);
    }

    const std::string& path() const { return dir_.path(); }
    std::string path(const std::string& name) const { return dir_.path(name); }
    void put(const std::string& text) const {
        write_file(main, text);
        write_file(backup, text);
    }

    daemon::KeyEditor open(lower::LowerFs& fs, std::string_view password = "right") const {
        auto editor = daemon::KeyEditor::open(fs, path());
        REQUIRE(editor);
        REQUIRE(editor->unlock(bytes_of(password)));
        return std::move(*editor);
    }
    bool opens(const volume::OpeningSecret& secret) const {
        const auto fs = lower::make_posix_lower_fs();
        const auto disk = daemon::VolumeOnDisk::open(*fs, path());
        REQUIRE(disk);
        const auto copies = disk->read_config();
        return copies && daemon::VolumeOnDisk::unlock(*copies, secret).has_value();
    }
    bool opens(std::string_view password) const { return opens(bytes_of(password)); }
    std::vector<std::string> names() const {
        std::vector<std::string> all;
        for (const auto& entry : std::filesystem::directory_iterator(path())) {
            all.push_back(entry.path().filename());
        }
        std::ranges::sort(all);
        return all;
    }

  private:
    fake::ScratchDir dir_ = fake::ScratchDir::in_memory();

    static std::string first_text() {
        const TempDir dir;
        const auto fs = lower::make_posix_lower_fs();
        const auto disk = daemon::VolumeOnDisk::open(*fs, dir.path());
        REQUIRE(disk);
        {
            auto creation = daemon::VolumeCreation::prepare(*disk);
            REQUIRE(creation);
            REQUIRE(creation->finish(cheap(), kPassword));
        }
        auto editor = daemon::KeyEditor::open(*fs, dir.path());
        REQUIRE(editor);
        REQUIRE(editor->unlock(kPassword));
        REQUIRE(editor->add({.cost = crypto::kArgon2Least, .label = "two"}, bytes_of(kOther)));
        return read_file(dir / volume::kConfigName);
    }

  public:
    const std::string main;
    const std::string backup;
};

}  // namespace extencfs::test
