// SPDX-License-Identifier: Apache-2.0
// Slots of devices, and keys of boxes that are kept, on a volume on the disk.
#include <algorithm>

#include "encfs/daemon/volume_source.h"
#include "tests/unit/daemon/key_place.h"

using namespace extencfs;
using namespace extencfs::daemon;
using extencfs::test::KeyPlace;
using extencfs::test::kOther;
using volume::SlotKind;

namespace {

const std::string kSecret(32, 's');

volume::NewSlot chip() {
    volume::NewSlot slot{.kind = SlotKind::kTpm2, .label = "chip"};
    slot.token.sealed = ByteVector(100, std::byte{7});
    slot.token.pin = true;
    return slot;
}

// What opened the volume, as a mount would keep it.
struct Kept {
    crypto::Key256 key;
    std::uint32_t slot;

    volume::OpeningSecret view(SlotKind kind) const {
        volume::OpeningSecret given(kind, key.bytes(), slot);
        given.is_box_key = true;
        return given;
    }
};

Kept kept_after(const KeyPlace& place, const volume::OpeningSecret& secret) {
    const auto fs = lower::make_posix_lower_fs();
    const auto source = open_volume(*fs, place.path(), {});
    REQUIRE(source);
    CHECK_FALSE((*source)->opened_by());
    REQUIRE((*source)->unlock(secret));
    const auto by = (*source)->opened_by();
    REQUIRE(by);
    CHECK(by->volume_id == (*source)->config()->volume_id);
    CHECK(by->revision == (*source)->config()->revision);
    Kept kept{crypto::Key256(by->box_key), by->slot};
    REQUIRE((*source)->format());
    // Nothing of it stays in a mount.
    CHECK_FALSE((*source)->opened_by());
    return kept;
}

}  // namespace

TEST_CASE("a device's slot opens the volume like any other") {
    const KeyPlace place;
    const auto fs = lower::make_posix_lower_fs();
    {
        auto editor = place.open(*fs);
        const auto added = editor.add(chip(), bytes_of(kSecret));
        REQUIRE(added);
        CHECK(added->slot == 3);
        CHECK(editor.change(3, crypto::kArgon2Least, bytes_of("x")).error().kind ==
              FailureKind::kKeySlot);
    }
    CHECK(place.opens({SlotKind::kTpm2, bytes_of(kSecret)}));
    CHECK_FALSE(place.opens({SlotKind::kFido2, bytes_of(kSecret)}));
    CHECK_FALSE(place.opens({SlotKind::kTpm2, bytes_of(std::string(32, 't'))}));
    const Kept kept = kept_after(place, {SlotKind::kTpm2, bytes_of(kSecret)});
    CHECK(kept.slot == 3);
    CHECK(place.opens(kept.view(SlotKind::kTpm2)));
    // A device may open what changes the keys, too.
    auto editor = KeyEditor::open(*fs, place.path());
    REQUIRE(editor);
    REQUIRE(editor->unlock({SlotKind::kTpm2, bytes_of(kSecret)}));
    REQUIRE(editor->remove(3));
    CHECK_FALSE(place.opens({SlotKind::kTpm2, bytes_of(kSecret)}));
    CHECK_FALSE(place.opens(kept.view(SlotKind::kTpm2)));
}

TEST_CASE("a kept key opens its own slot, and ends with it") {
    const KeyPlace place;
    const Kept kept = kept_after(place, bytes_of(kOther));
    CHECK(kept.slot == 2);
    CHECK(place.opens(kept.view(SlotKind::kPassword)));
    Kept elsewhere{crypto::Key256(kept.key.bytes()), 1};
    CHECK_FALSE(place.opens(elsewhere.view(SlotKind::kPassword)));
    const auto fs = lower::make_posix_lower_fs();
    {
        auto editor = place.open(*fs);
        // Another slot's change does not touch it: who keeps it compares the revision.
        REQUIRE(editor.change(1, crypto::kArgon2Least, bytes_of("new")));
        CHECK(place.opens(kept.view(SlotKind::kPassword)));
        // The same password once more is another slot.
        REQUIRE(editor.change(2, crypto::kArgon2Least, bytes_of(kOther)));
    }
    CHECK(place.opens(kOther));
    CHECK_FALSE(place.opens(kept.view(SlotKind::kPassword)));
}
