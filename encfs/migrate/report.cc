// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/report.h"

namespace extencfs::migrate {

std::string words_of(const core::Error& error) {
    if (error.kind == core::ErrorKind::kDamaged) return "damaged: authentication failed";
    return daemon::errno_text(core::errno_of(error));
}

void LeftOutNames::add(core::NodeId directory, std::string_view lower_name, Why why) {
    // EncFS keeps its configuration beside the root's names.
    if (directory == core::kRootNode && (lower_name == ".encfs6.xml" || lower_name == ".encfs5" ||
                                         lower_name == ".encfs4" || lower_name == ".encfs7"))
        return;
    names_.emplace_back(lower_name, why);
}

}  // namespace extencfs::migrate
