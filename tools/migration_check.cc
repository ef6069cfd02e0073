// SPDX-License-Identifier: Apache-2.0
#include "tools/migration_check.h"

#include "encfs/lower/lower_fs.h"
#include "encfs/migrate/volumes.h"

namespace extencfs::tools {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;

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
    if (view->target == migrate::Target::kIncomplete) {
        return fail(FailureKind::kCipherDir, place,
                    " is a migration that was cut short; go on with 'extencfs migrate OLD ", place,
                    "', or remove it with 'extencfs migrate --rollback ", place, "'");
    }
    if (view->target == migrate::Target::kComplete && use == Use::kWrite) {
        return fail(FailureKind::kCipherDir, place,
                    " is a migration that was not declared complete; look at it with --ro, then "
                    "'extencfs migrate --finish ",
                    place, "'");
    }
    return {};
}

}  // namespace extencfs::tools
