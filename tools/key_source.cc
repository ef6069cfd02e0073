// SPDX-License-Identifier: Apache-2.0
#include "tools/key_source.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "encfs/volume/recovery_key.h"
#include "encfs/volume/slots.h"
#include "tools/option_checks.h"
#include "tools/private_file.h"
#include "tools/prompt.h"

namespace extencfs::tools {
namespace {

using daemon::Credential;
using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;

constexpr std::size_t kMostRecoveryText = 4096;
constexpr int kTries = 3;

std::unexpected<daemon::Failure> mistyped(const std::string& where, const std::string& detail) {
    return fail(FailureKind::kWrongPassword, "the recovery key", where, " is mistyped: ", detail,
                "; compare it with what was written down");
}

Outcome<crypto::SecretBytes> recovery_from_person(const std::string& what) {
    for (int attempt = 1;; ++attempt) {
        const auto typed = prompt_password("Recovery key for " + what + ": ");
        if (!typed) return std::unexpected(typed.error());
        auto key = volume::parse_recovery_key(typed->bytes());
        if (key) return std::move(*key);
        if (attempt == kTries) return mistyped("", key.error().detail);
        std::fprintf(stderr, "Mistyped: %s. Once more.\n", key.error().detail.c_str());
    }
}

Outcome<crypto::SecretBytes> recovery_from_file(const std::string& path) {
    const auto text = read_small_file(path, kMostRecoveryText, FailureKind::kPasswordRead);
    if (!text) return std::unexpected(text.error());
    auto key = volume::parse_recovery_key(text->bytes());
    if (!key) return mistyped(" in " + path, key.error().detail);
    return std::move(*key);
}

Outcome<Credential> of_kind(volume::SlotKind kind, Outcome<crypto::SecretBytes> secret) {
    if (!secret) return std::unexpected(secret.error());
    return Credential(kind, std::move(*secret));
}

}  // namespace

void add_unlock_options(CLI::App& command, UnlockOptions& options) {
    add_password_options(command, options.password);
    auto* keyfile = command
                        .add_option("--keyfile", options.keyfile,
                                    "Open with the key file FILE in place of a password")
                        ->check(not_empty)
                        ->type_name("FILE")
                        ->group("Password");
    auto* recovery = command
                         .add_option("--recovery", options.recovery,
                                     "Open with the recovery key in FILE; - asks for it")
                         ->check(not_empty)
                         ->type_name("FILE")
                         ->group("Password");
    keyfile->excludes(recovery);
    for (const char* name : {"--passfile", "--stdinpass", "--extpass"}) {
        command.get_option(name)->excludes(keyfile)->excludes(recovery);
    }
}

void add_slot_option(CLI::App& command, UnlockOptions& options) {
    command.add_option("--slot", options.slot, "Try this key slot only ('extencfs key list')")
        ->check(slot_number)
        ->type_name("N")
        ->group("Password");
}

void add_token_option(CLI::App& command, UnlockOptions& options) {
    auto* token = command
                      .add_flag("--token-only", options.token_only,
                                "Open with what a device or service holds (systemd, TPM, FIDO2) or "
                                "what is kept, or not at all: ask for no password")
                      ->group("Password");
    for (const char* name : {"--passfile", "--stdinpass", "--extpass", "--keyfile", "--recovery"}) {
        command.get_option(name)->excludes(token);
    }
}

bool UnlockOptions::names_a_source() const {
    return !password.passfile.empty() || password.from_stdin || !password.program.empty() ||
           !keyfile.empty() || !recovery.empty();
}

Outcome<crypto::SecretBytes> read_keyfile(const std::string& path) {
    const auto contents =
        read_small_file(path, volume::kMostKeyfileBytes, FailureKind::kPasswordRead);
    if (!contents) return std::unexpected(contents.error());
    if (contents->empty()) {
        return fail(FailureKind::kPasswordEmpty, "the key file ", path, " is empty; give another");
    }
    auto secret = volume::keyfile_secret(contents->bytes());
    if (secret) return std::move(*secret);
    return fail(FailureKind::kPasswordRead, path, " is no key file (", secret.error().detail,
                "); give another");
}

Outcome<Credential> read_credential(const UnlockOptions& options, const std::string& what) {
    using volume::SlotKind;
    auto given =
        !options.keyfile.empty()  ? of_kind(SlotKind::kKeyfile, read_keyfile(options.keyfile))
        : options.recovery == "-" ? of_kind(SlotKind::kRecovery, recovery_from_person(what))
        : !options.recovery.empty()
            ? of_kind(SlotKind::kRecovery, recovery_from_file(options.recovery))
            : of_kind(SlotKind::kPassword, read_password(options.password, Purpose::kOpen, what));
    if (given && options.slot != 0) given->slot = options.slot;
    return given;
}

}  // namespace extencfs::tools
