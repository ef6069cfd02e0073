// SPDX-License-Identifier: Apache-2.0
#include "tools/slot_label.h"

#include "encfs/daemon/log.h"
#include "encfs/volume/config_json.h"

namespace extencfs::tools {

using daemon::fail;
using daemon::FailureKind;

daemon::Outcome<void> check_label(const std::string& label) {
    if (label.size() > volume::kMaxLabel) {
        return fail(FailureKind::kKeySlot, "--label has ", std::to_string(label.size()),
                    " bytes, and ", std::to_string(volume::kMaxLabel),
                    " are the most; give a shorter one");
    }
    if (!volume::is_label(label)) {
        return fail(FailureKind::kKeySlot,
                    "--label has control characters, or is not UTF-8; give another");
    }
    if (daemon::has_direction_marks(label)) {
        return fail(FailureKind::kKeySlot,
                    "--label has characters that turn the direction of writing; give another");
    }
    return {};
}

}  // namespace extencfs::tools
