// SPDX-License-Identifier: Apache-2.0
// The secret of a key slot that is to be made: chosen by a person, taken from a file, or drawn.
#pragma once

#include <string>

#include "crypto/password_kdf.h"
#include "crypto/secret.h"
#include "encfs/daemon/failure.h"
#include "encfs/volume/config.h"
#include "tools/kdf_choice.h"

namespace CLI {
class App;
}

namespace extencfs::tools {

struct NewKeyOptions {
    std::string passfile;      // --new-passfile F
    std::string keyfile;       // --new-keyfile F
    std::string recovery_out;  // --recovery-out F
    std::string kdf = kDefaultKdf;
    // What else can be done about one that is for another type; empty: nothing.
    std::string otherwise;
};

// Adds the four options. `otherwise`: how the command is told which type it is.
void add_new_key_options(CLI::App& command, NewKeyOptions& options, const char* otherwise);

struct NewKey {
    crypto::SecretBytes secret;
    // Random and long: the cheapest derivation is enough.
    bool needs_no_stretching = false;
    // The file that was made for it, if one was.
    std::string made;
};

// What would fail make_new_key(), or be passed over, as far as it can be told before anything is
// asked for. `what`: the volume's directory. ERRORS: kKeySlot (options that are for another type),
// kPasswordRead (no key file is named), kOther (a file that is there already, or would lie in the
// volume's own directory, where it protects nothing).
daemon::Outcome<void> check_new_key(volume::SlotKind kind, const NewKeyOptions& options,
                                    const std::string& what);

// Whether another secret can be put in the place of one. ERRORS: kKeySlot.
daemon::Outcome<void> check_can_change(volume::SlotKind kind);

// A password is asked for twice; a key file that is missing is made of 64 random bytes; a recovery
// key is drawn, and written to its file, or shown on the terminal and typed back.
// ERRORS: those of check_new_key() and check_can_change(), kPasswordRead, kPasswordEmpty, kOther (a
// file that cannot be made).
daemon::Outcome<NewKey> make_new_key(volume::SlotKind kind, const NewKeyOptions& options,
                                     const std::string& what);

}  // namespace extencfs::tools
