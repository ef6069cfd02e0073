// SPDX-License-Identifier: Apache-2.0
// What a command opens a volume with: a password, a key file, or a recovery key. Never from argv.
#pragma once

#include <string>

#include "encfs/daemon/credential.h"
#include "encfs/daemon/failure.h"
#include "tools/password_source.h"

namespace extencfs::tools {

struct UnlockOptions {
    PasswordOptions password;
    std::string keyfile;     // --keyfile F
    std::string recovery;    // --recovery F; "-": asked for
    std::uint32_t slot = 0;  // --slot N; 0: any
    bool token_only = false;

    // Whether it says where what is given comes from.
    bool names_a_source() const;
};

// Adds the options of passwords, --keyfile and --recovery (at most one may be given).
void add_unlock_options(CLI::App& command, UnlockOptions& options);
// Adds --token-only, for commands that find what opens a volume by token_source.h.
void add_token_option(CLI::App& command, UnlockOptions& options);
// Adds --slot for commands that only open a volume.
void add_slot_option(CLI::App& command, UnlockOptions& options);

// `what`: named in prompts. ERRORS: kPasswordRead, kPasswordEmpty, kWrongPassword (a recovery key
// that was mistyped: its wrong groups are named).
daemon::Outcome<daemon::Credential> read_credential(const UnlockOptions& options,
                                                    const std::string& what);

// The secret of a key file. ERRORS: kPasswordRead, kPasswordEmpty.
daemon::Outcome<crypto::SecretBytes> read_keyfile(const std::string& path);

}  // namespace extencfs::tools
