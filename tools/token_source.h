// SPDX-License-Identifier: Apache-2.0
// Finds what opens a volume without a password, and asks for one if nothing does: first the key
// that is kept, then devices and services that need nobody, then those that want a PIN or a touch.
#pragma once

#include <string>

#include "encfs/daemon/credential.h"
#include "encfs/daemon/failure.h"
#include "tools/key_source.h"

namespace extencfs::tools {

enum class Search : std::uint8_t {
    kAll,
    // Nothing by itself: devices only for --token-only or a slot of theirs that is named. For
    // commands that change or judge keys.
    kWhatIsNamed,
};

// What the options name, if they name something; otherwise what `search` finds, and what a person
// types when that is nothing. `config` is not authenticated; nullptr for volumes without key slots.
// A wrong PIN ends it: the next try costs, and is the person's. `what`: named in prompts.
// ERRORS: those of read_credential, kWrongPassword (PIN), kToken, kKeySlot.
daemon::Outcome<daemon::Credential> find_credential(const UnlockOptions& options,
                                                    const volume::Config* config,
                                                    const std::string& what,
                                                    Search search = Search::kAll);

}  // namespace extencfs::tools
