// SPDX-License-Identifier: Apache-2.0
// A volume into which an exported configuration is brought back.
#pragma once

#include <algorithm>

#include "encfs/volume/rotation.h"
#include "encfs/volume/volume_keys.h"
#include "tests/unit/daemon/key_place.h"

namespace extencfs::test {

struct Imports {
    KeyPlace place;
    std::unique_ptr<lower::LowerFs> fs = lower::make_posix_lower_fs();
    std::string exported = read_file(place.main);

    daemon::Outcome<daemon::Notices> import(const std::string& text,
                                            std::string_view password = "right") const {
        auto import = daemon::HeaderImport::prepare(*fs, place.path(), "F", text);
        if (!import) return std::unexpected(import.error());
        return import->finish(bytes_of(password));
    }
    // What was put aside.
    std::vector<std::string> kept() const {
        std::vector<std::string> texts;
        for (const std::string& name : place.names()) {
            if (name.starts_with("extencfs.conf.old."))
                texts.push_back(read_file(place.path(name)));
        }
        std::ranges::sort(texts);
        return texts;
    }
    // A file of the volume, by its lower name, under the keys of that configuration.
    void add_entry(const std::string& plain = "letter", const std::string& text = {}) const {
        const auto config = volume::parse_config(text.empty() ? exported : text);
        const auto key = volume::unlock(*config, kPassword);
        REQUIRE(key);
        const auto keys = volume::VolumeKeys::derive(*config, key->bytes());
        REQUIRE(keys);
        const auto name = (*keys)->current().names.encode(config->root_id, plain);
        REQUIRE(name);
        write_file(place.path(name->entry), "");
        if (name->side_name.empty()) return;
        const Bytes side = name->side_bytes;
        write_file(place.path(name->side_name), std::string(text_of(side)));
    }
    // The volume's configuration after a rotation of its keys, which "right" goes on opening.
    std::string rotated() const {
        const auto begun = begin();
        const auto ended = volume::end_rotation(begun.config);
        REQUIRE(ended);
        return volume::serialize_config(*ended, begun.volume_key.bytes());
    }
    // The one from within it.
    std::string rotating() const {
        const auto begun = begin();
        return volume::serialize_config(begun.config, begun.volume_key.bytes());
    }

  private:
    volume::BegunRotation begin() const {
        const auto config = volume::parse_config(exported);
        const auto opened = volume::open_slot(*config, kPassword);
        REQUIRE(opened);
        auto begun =
            volume::begin_rotation(*config, opened->volume_key.bytes(), opened->slot, kPassword);
        REQUIRE(begun);
        return std::move(*begun);
    }
};

}  // namespace extencfs::test
