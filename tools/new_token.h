// SPDX-License-Identifier: Apache-2.0
// A key slot whose secret a device or service is to hold: chosen on the command line, made, added.
#pragma once

#include <string>

#include "encfs/daemon/key_editor.h"

namespace CLI {
class App;
}

namespace extencfs::tools {

struct NewTokenOptions {
    std::string keys;  // --with-key: of systemd
    std::string pcrs;  // --pcrs: of tpm2, and of systemd with the TPM
    bool pin = false;  // --pin: of tpm2
};

// Adds the three options.
void add_new_token_options(CLI::App& command, NewTokenOptions& options);

// Fails what cannot be done before a password is asked for: options of another type, no device.
// ERRORS: kKeySlot, kToken.
daemon::Outcome<void> check_new_token(volume::SlotKind kind, const NewTokenOptions& options);

// Makes the secret, and the slot that it opens. `what`: named in prompts. REQUIRES: an unlocked
// editor. ERRORS: kToken, kWrongPassword (PIN), kPasswordRead, kPasswordEmpty, and those of
// KeyEditor::add().
daemon::Outcome<daemon::ChangedSlot> add_token(daemon::KeyEditor& editor, volume::NewSlot slot,
                                               const NewTokenOptions& options,
                                               const std::string& what);

}  // namespace extencfs::tools
