// SPDX-License-Identifier: Apache-2.0
#include "tools/token_source.h"

#include <chrono>
#include <cstdio>
#include <vector>

#include "encfs/token/key_cache.h"
#include "encfs/token/token.h"
#include "encfs/volume/slots.h"
#include "tools/command.h"
#include "tools/prompt.h"
#include "tools/token_words.h"

namespace extencfs::tools {
namespace {

using daemon::Credential;
using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;
using volume::KeySlot;
using volume::SlotKind;

// Costs nothing for what devices hold and what is kept. Damage is for the mount to judge: it has
// another copy of the configuration.
bool opens(const volume::Config& config, const Credential& credential) {
    const auto opened = volume::open_slot(config, credential.view());
    return opened || opened.error().kind == volume::ErrorKind::kDamaged;
}

constexpr std::chrono::seconds kPatience{60};  // after which no other device is tried

bool needs_somebody(const KeySlot& slot) {
    return slot.kind == SlotKind::kFido2 || slot.token.pin;
}

// One search, and why what was looked at did not open.
class TokenSearch {
  public:
    TokenSearch(const UnlockOptions& options, const volume::Config& config, const std::string& what)
        : options_(options), config_(config), what_(what) {}

    // The key that is kept, if it still opens the slot (that was asked for).
    std::optional<Credential> kept() const {
        const auto cached = token::cached_key(config_.volume_id);
        if (!cached) return std::nullopt;
        if (options_.slot != 0 && options_.slot != cached->slot) return std::nullopt;
        const KeySlot* slot = volume::find_slot(config_, cached->slot);
        if (slot != nullptr && cached->revision == config_.revision) {
            Credential credential(slot->kind, crypto::SecretBytes(cached->box_key.bytes()));
            credential.slot = slot->id;
            credential.is_box_key = true;
            if (opens(config_, credential)) return credential;
        }
        // The slots are others now.
        (void)token::forget_key(config_.volume_id);
        return std::nullopt;
    }

    // By one device. ERRORS: those of the token; kPasswordRead (nobody types a PIN).
    Outcome<Credential> by(const KeySlot& slot) const {
        const auto token = token::token_of(slot.kind);
        if (const std::string why = token->missing_for(slot.token); !why.empty()) {
            return fail(FailureKind::kToken, why);
        }
        crypto::SecretBytes pin;
        if (slot.token.pin) {
            auto typed = prompt_password(
                "PIN of " + std::string(token_name(slot.kind)) + " for " + what_ +
                (options_.token_only || options_.slot != 0 ? ": "
                                                           : " (empty: the password instead): "));
            if (!typed) return std::unexpected(typed.error());
            if (typed->empty()) {
                return fail(FailureKind::kPasswordEmpty,
                            "the PIN is empty; type it, or give "
                            "another key");
            }
            pin = std::move(*typed);
        }
        if (slot.kind == SlotKind::kFido2) {
            std::fprintf(stderr, "Touch the security key.\n");
        }
        auto secret = token->open(config_.volume_id, slot.token, pin.bytes());
        if (!secret) return std::unexpected(token_failure(secret.error()));
        Credential credential(slot.kind, std::move(*secret));
        credential.slot = slot.id;
        if (opens(config_, credential)) return credential;
        return fail(FailureKind::kToken, "what ", token_name(slot.kind), " holds does not open ",
                    "key slot ", std::to_string(slot.id),
                    "; give another key, then make that one anew");
    }

    // By any device, for a while: a volume may hold slots that only cost time. Those that need
    // nobody first. nullopt: none does, see the notices.
    Outcome<std::optional<Credential>> by_any() {
        std::vector<const KeySlot*> slots;
        for (const bool later : {false, true}) {
            for (const KeySlot& slot : config_.slots) {
                if (volume::is_token(slot.kind) && needs_somebody(slot) == later) {
                    slots.push_back(&slot);
                }
            }
        }
        const auto end = std::chrono::steady_clock::now() + kPatience;
        for (const KeySlot* slot : slots) {
            if (std::chrono::steady_clock::now() > end) break;
            auto found = by(*slot);
            if (found) return std::optional(std::move(*found));
            const FailureKind kind = found.error().kind;
            if (kind == FailureKind::kWrongPassword) return std::unexpected(found.error());
            if (!first_) first_ = found.error();
            // Nobody need hear that a device is not there, or that he chose the password.
            const auto token = token::token_of(slot->kind);
            if (kind == FailureKind::kToken && token->missing_for(slot->token).empty() &&
                !options_.token_only) {
                tell_notice("key slot " + std::to_string(slot->id) + ": " + found.error().sentence);
            }
        }
        return std::optional<Credential>();
    }

    daemon::Failure why_none() const {
        if (first_) return *first_;
        return {FailureKind::kToken,
                "no device or service holds a key of " + what_ +
                    ", and none is kept; add one with 'extencfs key add --type tpm2'"};
    }

  private:
    const UnlockOptions& options_;
    const volume::Config& config_;
    const std::string& what_;
    std::optional<daemon::Failure> first_;
};

Outcome<Credential> by_named_slot(const UnlockOptions& options, const volume::Config& config,
                                  const std::string& what, Search search) {
    const KeySlot* slot = volume::find_slot(config, options.slot);
    if (slot == nullptr) {
        return fail(FailureKind::kKeySlot, "the volume has no key slot ",
                    std::to_string(options.slot), "; 'extencfs key list' shows those it has");
    }
    const TokenSearch find(options, config, what);
    if (search == Search::kAll) {
        if (auto kept = find.kept()) return std::move(*kept);
    }
    if (volume::is_token(slot->kind)) return find.by(*slot);
    if (options.token_only) {
        return fail(FailureKind::kKeySlot, "key slot ", std::to_string(slot->id), " is of type ",
                    slot->kind_name, ", which no device holds; leave out --token-only");
    }
    return read_credential(options, what);
}

}  // namespace

Outcome<Credential> find_credential(const UnlockOptions& options, const volume::Config* config,
                                    const std::string& what, Search search) {
    if (options.names_a_source()) return read_credential(options, what);
    if (config == nullptr) {
        if (!options.token_only) return read_credential(options, what);
        return fail(FailureKind::kToken, what,
                    " is a volume of EncFS, which no device opens; leave out --token-only");
    }
    if (options.slot != 0) return by_named_slot(options, *config, what, search);
    if (search == Search::kWhatIsNamed && !options.token_only) {
        return read_credential(options, what);
    }
    TokenSearch find(options, *config, what);
    if (search == Search::kAll) {
        if (auto kept = find.kept()) return std::move(*kept);
    }
    auto found = find.by_any();
    if (!found) return std::unexpected(found.error());
    if (*found) return std::move(**found);
    if (options.token_only) return std::unexpected(find.why_none());
    return read_credential(options, what);
}

}  // namespace extencfs::tools
