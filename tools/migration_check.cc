// SPDX-License-Identifier: Apache-2.0
#include "tools/migration_check.h"

#include "encfs/daemon/volume_on_disk.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/migrate/volumes.h"
#include "tools/migrate_in_place.h"

namespace extencfs::tools {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;

namespace {

std::unexpected<daemon::Failure> not_declared(const std::string& place) {
    return fail(FailureKind::kCipherDir, place,
                " is a migration that was not declared complete; look at it with --ro, then "
                "'extencfs migrate --finish ",
                place, "'");
}

}  // namespace

Outcome<void> check_migration(const std::string& place, const daemon::LegacyChoices& legacy,
                              Use use) {
    // A plain directory may have any names in it.
    if (legacy.reverse) return {};
    const auto lower = lower::make_posix_lower_fs();
    const auto view = migrate::look_at_target(*lower, place);
    if (!view) {
        const FailureKind kind = view.error().kind;
        const bool of_journal = kind == FailureKind::kUnsupported || kind == FailureKind::kDamage;
        if (use == Use::kWrite && of_journal) return std::unexpected(view.error());
        return {};
    }
    if (use == Use::kWrite && view->target != migrate::Target::kIncomplete && is_in_place(place)) {
        // One that is half done is refused by whoever opens it.
        const auto disk = daemon::VolumeOnDisk::open(*lower, place);
        if (disk && disk->check_not_migrating()) return not_declared(place);
    }
    if (view->target == migrate::Target::kIncomplete) {
        return fail(FailureKind::kCipherDir, place,
                    " is a migration that was cut short; go on with 'extencfs migrate OLD ", place,
                    "', or remove it with 'extencfs migrate --rollback ", place, "'");
    }
    if (view->target == migrate::Target::kComplete && use == Use::kWrite) {
        return not_declared(place);
    }
    return {};
}

}  // namespace extencfs::tools
