// SPDX-License-Identifier: Apache-2.0
#include "tools/new_token.h"

#include <CLI/CLI.hpp>
#include <cstdio>

#include "encfs/token/pcrs.h"
#include "encfs/token/token.h"
#include "tools/command.h"
#include "tools/prompt.h"
#include "tools/token_words.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;
using volume::SlotKind;

token::Choices choices_of(const NewTokenOptions& options) {
    token::Choices choices;
    if (!options.keys.empty()) choices.keys = options.keys;
    choices.pcrs = token::parse_pcrs(options.pcrs).value_or(0);
    choices.pin = options.pin;
    return choices;
}

std::unexpected<daemon::Failure> unfit(const char* option, const char* type) {
    return fail(FailureKind::kKeySlot, option, " is for keys of type ", type,
                "; leave it out, or choose that type");
}

}  // namespace

void add_new_token_options(CLI::App& command, NewTokenOptions& options) {
    command
        .add_option("--with-key", options.keys,
                    "What systemd seals with: host (the machine's key file; the default), tpm2, or "
                    "host+tpm2")
        ->check(CLI::IsMember({"host", "tpm2", "host+tpm2"}))
        ->type_name("KEYS")
        ->group("New key");
    command
        .add_option("--pcrs", options.pcrs,
                    "Registers of the TPM that must be as they are now, as in 0+7; none, and 7 of "
                    "systemd, by default")
        ->check([](const std::string& text) {
            return token::parse_pcrs(text) ? std::string()
                                           : "'" + text + "' is no list of PCRs, as in 0+7";
        })
        ->type_name("LIST")
        ->group("New key");
    command.add_flag("--pin", options.pin, "The TPM is to ask for a PIN, and count wrong ones")
        ->group("New key");
}

Outcome<void> check_new_token(SlotKind kind, const NewTokenOptions& options) {
    if (kind != SlotKind::kSystemd && !options.keys.empty()) return unfit("--with-key", "systemd");
    if (kind != SlotKind::kTpm2 && options.pin) return unfit("--pin", "tpm2");
    const bool by_tpm = kind == SlotKind::kTpm2 || (kind == SlotKind::kSystemd &&
                                                    options.keys.find("tpm2") != std::string::npos);
    if (!by_tpm && !options.pcrs.empty()) return unfit("--pcrs", "tpm2, or systemd with the TPM,");
    if (!volume::is_token(kind)) return {};
    if (const std::string why = token::token_of(kind)->missing(); !why.empty()) {
        return fail(FailureKind::kToken, why);
    }
    return {};
}

Outcome<daemon::ChangedSlot> add_token(daemon::KeyEditor& editor, volume::NewSlot slot,
                                       const NewTokenOptions& options, const std::string& what) {
    const auto token = token::token_of(slot.kind);
    const token::Choices choices = choices_of(options);
    const auto wants_pin = token->wants_pin(choices);
    if (!wants_pin) return std::unexpected(token_failure(wants_pin.error()));
    crypto::SecretBytes pin;
    if (*wants_pin) {
        const std::string name = token_name(slot.kind);
        // That of a security key is there already, and each wrong one counts; the TPM's is new.
        auto typed = slot.kind == SlotKind::kFido2
                         ? prompt_password("PIN of " + name + ": ")
                         : prompt_new_password("New PIN of " + name + " for " + what);
        if (!typed) return std::unexpected(typed.error());
        if (typed->empty()) {
            return fail(FailureKind::kPasswordEmpty, "the PIN is empty; type it");
        }
        pin = std::move(*typed);
    }
    if (slot.kind == SlotKind::kFido2) {
        std::fprintf(stderr, "Touch the security key, twice.\n");
    }
    auto made = token->make(editor.config().volume_id, choices, pin.bytes());
    if (!made) return std::unexpected(token_failure(made.error()));
    // What is about to be relied on is tried before anything is written; a touch would be a third.
    if (slot.kind != SlotKind::kFido2) {
        const auto again = token->open(editor.config().volume_id, made->box, pin.bytes());
        if (!again) return std::unexpected(token_failure(again.error()));
        if (!crypto::equal_constant_time(again->bytes(), made->secret.bytes())) {
            return fail(FailureKind::kToken, token_name(slot.kind),
                        " does not give back what it was given; nothing was changed, use another "
                        "key");
        }
    }
    slot.token = std::move(made->box);
    return editor.add(slot, made->secret.bytes());
}

}  // namespace extencfs::tools
