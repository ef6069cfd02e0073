// SPDX-License-Identifier: Apache-2.0
// The configurations of a rotation of keys.
#include "encfs/volume/rotation.h"

#include <catch2/catch.hpp>

#include <algorithm>

#include "encfs/volume/features.h"
#include "encfs/volume/slots.h"
#include "encfs/volume/volume_keys.h"

using namespace extencfs;
using namespace extencfs::volume;

namespace {

const Bytes kOne = bytes_of("one");
const Bytes kTwo = bytes_of("two");

struct Made {
    Config config;
    crypto::Key256 key;
};
Made made() {
    Made m;
    auto config = new_config({.cost = crypto::kArgon2Least}, kOne, m.key);
    REQUIRE(config);
    m.config = std::move(*config);
    REQUIRE(add_slot(m.config, m.key.bytes(), {.cost = crypto::kArgon2Least}, kTwo));
    return m;
}

// As it is read back from the disk.
Config written(const Config& config, const crypto::Key256& key) {
    auto read = parse_config(serialize_config(config, key.bytes()));
    REQUIRE(read);
    return std::move(*read);
}

}  // namespace

TEST_CASE("a rotation begins with another key that the kept secret alone opens") {
    const Made m = made();
    auto begun = begin_rotation(m.config, m.key.bytes(), 2, kTwo);
    REQUIRE(begun);
    CHECK(is_rotating(begun->config));
    CHECK(!is_rotating(m.config));
    CHECK(begun->config.revision > m.config.revision);
    CHECK(begun->config.generations.size() == 2);
    CHECK(begun->config.generations.back().number == 2);
    CHECK(begun->config.next_slot_id == m.config.next_slot_id);
    const Config config = written(begun->config, begun->volume_key);
    REQUIRE(config.slots.size() == 1);
    CHECK(config.slots[0].id == 2);
    CHECK(!unlock(config, kOne));
    const auto key = unlock(config, kTwo);
    REQUIRE(key);
    CHECK(std::ranges::equal(key->bytes(), begun->volume_key.bytes()));
    CHECK(!std::ranges::equal(key->bytes(), m.key.bytes()));
    CHECK(!is_authentic(config, m.key.bytes()));
    CHECK(!VolumeKeys::derive(config, m.key.bytes()));
    // The old generation is the same, under the new key.
    const auto before = VolumeKeys::derive(m.config, m.key.bytes());
    const auto during = VolumeKeys::derive(config, key->bytes());
    REQUIRE(before);
    REQUIRE(during);
    CHECK(std::ranges::equal((*before)->current().header.bytes(),
                             (*during)->generation(1)->header.bytes()));
    CHECK(!std::ranges::equal((*before)->current().header.bytes(),
                              (*during)->current().header.bytes()));
}

TEST_CASE("a rotation ends with the last generation alone, and without a flag") {
    const Made m = made();
    auto begun = begin_rotation(m.config, m.key.bytes(), 1, kOne);
    REQUIRE(begun);
    const auto ended = end_rotation(begun->config);
    REQUIRE(ended);
    CHECK(!is_rotating(*ended));
    CHECK(ended->features.empty());
    CHECK(ended->revision > begun->config.revision);
    const Config config = written(*ended, begun->volume_key);
    REQUIRE(config.generations.size() == 1);
    CHECK(config.generations[0].number == 2);
    CHECK(unlock(config, kOne));
    // Neither the configuration before it nor that of its middle is brought back over it.
    Config old = m.config;
    CHECK(!bring_back(old, config));
}

TEST_CASE("what no rotation can be made of") {
    const Made m = made();
    CHECK(!begin_rotation(m.config, m.key.bytes(), 3, kOne));
    auto begun = begin_rotation(m.config, m.key.bytes(), 1, kOne);
    REQUIRE(begun);
    CHECK(!begin_rotation(begun->config, begun->volume_key.bytes(), 1, kOne));
    CHECK(!end_rotation(m.config));
    const crypto::Key256 other;
    CHECK(!begin_rotation(m.config, other.bytes(), 1, kOne));
    Config full = m.config;
    full.generations.back().number = UINT32_MAX;
    CHECK(!begin_rotation(full, m.key.bytes(), 1, kOne));
    // The flag alone makes no sense.
    Config flag = m.config;
    flag.features = {std::string(kFeatureKeyRotation)};
    CHECK(!validate(flag));
}
