// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/report.h"

#include "encfs/volume/format.h"

namespace extencfs::migrate {

std::string words_of(const core::Error& error) {
    if (error.kind == core::ErrorKind::kDamaged) return "damaged: authentication failed";
    return daemon::errno_text(core::errno_of(error));
}

void LeftOutNames::add(core::NodeId directory, std::string_view lower_name, Why why) {
    // EncFS keeps its configuration beside the root's names, a migration in place what it needs,
    // and file systems theirs.
    if (directory == core::kRootNode &&
        (lower_name == ".encfs6.xml" || lower_name == ".encfs5" || lower_name == ".encfs4" ||
         lower_name == ".encfs7" || lower_name.starts_with(volume::kMigrationPrefix) ||
         lower_name == "lost+found"))
        return;
    names_.emplace_back(lower_name, why);
}

}  // namespace extencfs::migrate
