// SPDX-License-Identifier: Apache-2.0
// A look at everything before a rotation begins: how much it is, what would be in its way, and the
// times and modes that are to be kept. Changes nothing.
#pragma once

#include "encfs/rotate/directory.h"
#include "encfs/rotate/journal.h"

namespace extencfs::rotate {

struct Survey {
    std::vector<Before> records;  // the root first
    Amount amount;
};
// What opens under no key is told to `damages`; contents are not read. ERRORS: kOther (something
// cannot be read, or belongs to somebody else), kCipherDir (another file system is mounted in it).
daemon::Outcome<Survey> survey(const Tools& tools, Damages& damages, Progress& progress);

}  // namespace extencfs::rotate
