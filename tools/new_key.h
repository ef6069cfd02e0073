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
};

// Adds the four options.
void add_new_key_options(CLI::App& command, NewKeyOptions& options);

struct NewKey {
    crypto::SecretBytes secret;
    // Random and long: the cheapest derivation is enough.
    bool needs_no_stretching = false;
    // The file that was made for it, if one was.
    std::string made;
};

// ERRORS: kKeySlot (options that are for another type).
daemon::Outcome<void> check_new_key(volume::SlotKind kind, const NewKeyOptions& options);

// A password is asked for twice; a key file that is missing is made of 64 random bytes; a recovery
// key is drawn, and written to its file, or shown on the terminal and typed back.
// ERRORS: kPasswordRead, kPasswordEmpty, kOther (a file that cannot be made), kKeySlot (options
// that are for another type).
daemon::Outcome<NewKey> make_new_key(volume::SlotKind kind, const NewKeyOptions& options,
                                     const std::string& what);

}  // namespace extencfs::tools
