// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/tools.h"

#include <cerrno>

namespace extencfs::rotate {

std::unexpected<daemon::Failure> cannot(const std::string& path, const char* what,
                                        const lower::Errno& error) {
    const bool full = error.value == ENOSPC || error.value == EDQUOT;
    return daemon::fail(daemon::FailureKind::kOther, path.empty() ? "the volume" : path,
                        " cannot be ", what, " (", daemon::errno_text(error.value), "); ",
                        full ? "make room below" : "mend that",
                        " and run 'extencfs key rotate' again");
}

}  // namespace extencfs::rotate
