// SPDX-License-Identifier: Apache-2.0
// A rotation of keys that nothing disturbs: all is as it was, and nothing opens under the old key.
#include <sys/xattr.h>

#include "encfs/volume/rotation.h"
#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/rotate/rotate_place.h"

using namespace extencfs;
using namespace extencfs::test;
using daemon::InRotation;

TEST_CASE("a rotation of keys keeps everything and leaves nothing under the old key") {
    for (const unsigned jobs : {1U, 3U}) {
        const RotatePlace place;
        place.fill();
        const Upper before = place.look(Compare::kAll);
        REQUIRE(before.size() == 15);
        auto old_keys = place.derived();
        REQUIRE(old_keys);
        CHECK(opened_by(place.path(), **old_keys) > 50);
        const std::size_t opened = opened_by(place.path(), **old_keys);

        const auto fs = lower::make_posix_lower_fs();
        const auto failed = rotate_keys(*fs, place.path(), nullptr, "right", jobs);
        INFO((failed ? failed->sentence : "done"));
        REQUIRE(!failed);

        CHECK(opened_by(place.path(), **old_keys) == 0);
        auto new_keys = place.derived();
        REQUIRE(new_keys);
        CHECK((*new_keys)->generations().size() == 1);
        CHECK(opened_by(place.path(), **new_keys) == opened);
        CHECK(difference(place.look(Compare::kAll), before) == "");
        CHECK(read_file(place.path(volume::kStateName)) == "clean\n");
        CHECK(read_file(place.keys().main) == read_file(place.keys().backup));
        CHECK(read_file(place.keys().main).find("key-rotation") == std::string::npos);
        // Nothing of its own is left.
        for (const std::string& name : place.keys().names()) {
            INFO(name);
            CHECK(!name.starts_with(volume::kRotationName));
            CHECK(!name.starts_with(volume::kRotationKeepPrefix));
            CHECK(!name.starts_with(volume::kTempPrefix));
        }
        // The other password is revoked.
        CHECK(!place.derived(kOther));
    }
}

TEST_CASE("after a rotation the old configuration opens nothing, and the old key no new one") {
    const RotatePlace place;
    place.fill();
    const std::string old_text = read_file(place.keys().main);
    const auto fs = lower::make_posix_lower_fs();
    REQUIRE(!rotate_keys(*fs, place.path()));
    const auto present = volume::parse_config(read_file(place.keys().main));
    const auto old = volume::parse_config(old_text);
    REQUIRE(present);
    REQUIRE(old);
    const auto old_key = volume::unlock(*old, kPassword);
    REQUIRE(old_key);
    CHECK(!volume::is_authentic(*present, old_key->bytes()));
    CHECK(!volume::VolumeKeys::derive(*present, old_key->bytes()));
    place.keys().put(old_text);
    auto old_keys = place.derived();
    REQUIRE(old_keys);
    CHECK(opened_by(place.path(), **old_keys) == 0);
}

TEST_CASE("a volume can be rotated again and again, and written between") {
    const RotatePlace place;
    place.fill();
    const Upper before = place.look(Compare::kAccessTimesToo);
    const auto fs = lower::make_posix_lower_fs();
    for (int i = 0; i < 3; ++i) REQUIRE(!rotate_keys(*fs, place.path()));
    CHECK(difference(place.look(Compare::kAccessTimesToo), before) == "");
    place.with([](core::Filesystem& volume) {
        auto made = volume.create(core::kRootNode, "new", 0600, {});
        REQUIRE(made);
        volume.forget(made->node, 1);
    });
    write_file(place.path(volume::kStateName), "clean\n");
    REQUIRE(!rotate_keys(*fs, place.path()));
    CHECK(place.look(Compare::kNoTimes).contains("new"));
}

TEST_CASE("a rotation gives the new key further slots") {
    const RotatePlace place;
    place.fill();
    const auto fs = lower::make_posix_lower_fs();
    {
        auto rotation = rotate::Rotation::open(*fs, place.path());
        REQUIRE(rotation);
        rotate::Damages damages;
        rotate::Progress progress;
        const volume::OpeningSecret secret(kPassword);
        REQUIRE(rotation->unlock(secret) == 1U);
        REQUIRE(rotation->survey(damages, progress));
        CHECK(damages.count() == 0);
        rotate::MoreSlot more;
        more.slot.cost = crypto::kArgon2Least;
        more.slot.label = "fresh";
        more.secret = crypto::SecretBytes(bytes_of("fresh"));
        REQUIRE(rotation->begin(secret, std::move(more)));
        CHECK(rotation->was_begun());
        REQUIRE(rotation->run(1, damages, progress));
    }
    CHECK(place.derived("right"));
    CHECK(place.derived("fresh"));
    CHECK(!place.derived(kOther));
}

TEST_CASE("a volume in rotation is opened by nothing else") {
    const RotatePlace place;
    place.fill();
    fake::FaultLowerFs fs;
    // In the middle of the contents.
    fs.die_at(40);
    REQUIRE(rotate_keys(fs, place.path()));
    const auto refused = place.derived();
    REQUIRE(!refused);
    CHECK(refused.error().kind == daemon::FailureKind::kKeySlot);
    CHECK(refused.error().sentence.find("key rotate") != std::string::npos);
    CHECK(place.derived("right", InRotation::kAllowed));
    // Neither does the other password, nor the old key.
    CHECK(!place.derived(kOther, InRotation::kAllowed));
    const auto real = lower::make_posix_lower_fs();
    const auto editor = daemon::KeyEditor::open(*real, place.path());
    REQUIRE(!editor);
    CHECK(editor.error().kind == daemon::FailureKind::kKeySlot);
    // A program that does not know the flag.
    CHECK(read_file(place.keys().main).find("\"key-rotation\"") != std::string::npos);
}

TEST_CASE("what opens under no key stays as it is, and is told") {
    const RotatePlace place;
    place.fill();
    const Upper before = place.look(Compare::kAll);
    // One byte in the middle of the largest dense file, which has two names.
    std::string victim;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(place.path())) {
        if (entry.is_regular_file() && entry.hard_link_count() == 2) victim = entry.path();
    }
    REQUIRE(!victim.empty());
    std::string bytes = read_file(victim);
    bytes[6000] = static_cast<char>(bytes[6000] ^ 1);
    const auto times = std::filesystem::last_write_time(victim);
    write_file(victim, bytes);
    std::filesystem::last_write_time(victim, times);
    const Upper damaged = place.look(Compare::kNoTimes);
    REQUIRE(damaged.at("docs/shared").find("UNREADABLE") != std::string::npos);
    rotate::Damages told;
    const auto fs = lower::make_posix_lower_fs();
    REQUIRE(!rotate_keys(*fs, place.path(), &told));
    REQUIRE(told.count() == 1);
    CHECK(told.all()[0].what.find("1 fragments") != std::string::npos);
    CHECK(difference(place.look(Compare::kNoTimes), damaged) == "");
}

TEST_CASE("attributes that do not fit an inode twice are rotated all the same") {
    const RotatePlace place;
    place.fill();
    const Upper before = place.look(Compare::kAll);
    std::size_t number = 0;
    for (const int error : {ENOSPC, E2BIG}) {
        fake::FaultLowerFs fs;
        fs.fail_at(2, error, fake::Calls::named("set_xattr"));
        REQUIRE(!rotate_keys(fs, place.path()));
        CHECK(difference(place.look(Compare::kAll), before) == "");
        number += fs.count(fake::Calls::named("set_xattr"));
    }
    CHECK(number >= 8);
}
