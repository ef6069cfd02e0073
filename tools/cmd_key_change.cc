// SPDX-License-Identifier: Apache-2.0
// key add, change, remove; and the options of passwd.
#include "tools/key_change.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>

#include "encfs/daemon/hardening.h"
#include "encfs/token/key_cache.h"
#include "encfs/volume/config_json.h"
#include "tools/advice.h"
#include "tools/cmd_key.h"
#include "tools/command.h"
#include "tools/confirm.h"
#include "tools/option_checks.h"
#include "tools/progress.h"
#include "tools/slot_label.h"
#include "tools/token_source.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;
using volume::SlotKind;

const std::map<std::string, SlotKind> kTypes{
    {"password", SlotKind::kPassword}, {"keyfile", SlotKind::kKeyfile},
    {"recovery", SlotKind::kRecovery}, {"systemd", SlotKind::kSystemd},
    {"tpm2", SlotKind::kTpm2},         {"fido2", SlotKind::kFido2}};

constexpr const char* kInnerKeyStays =
    "Whoever opened the volume once may have kept its inner key; 'extencfs key rotate' changes "
    "that.\n";

Outcome<void> check_slot(const volume::Config& config, std::uint32_t slot) {
    if (slot == 0 || volume::find_slot(config, slot) != nullptr) return {};
    return fail(FailureKind::kKeySlot, "the volume has no key slot ", std::to_string(slot),
                "; 'extencfs key list' shows those it has");
}

void say(const char* done, const volume::KeySlot& slot, const daemon::Notices& notices) {
    for (const std::string& notice : notices) tell_notice(notice);
    std::printf("%s %s.\n", done, slot_words(slot).c_str());
    // What is tried after it takes a while.
    (void)std::fflush(stdout);
}

// A key that is kept opens nothing any more once the revision has changed; an older configuration
// that is put back must not find it.
void forget_kept(const volume::Config& config) {
    if (const auto done = token::forget_key(config.volume_id); !done) {
        tell_notice(done.error().sentence);
    }
}

// What was made for a key that did not come to be in force is told: it may be in the way.
void tell_made(const NewKey& key) {
    if (!key.made.empty()) tell_notice(key.made + " was made and is left there");
}

// The first slot but `except` that `secret` opens; it costs a derivation for each of that kind that
// is tried. REQUIRES: a configuration that is authentic. nullopt: none.
std::optional<std::uint32_t> slot_it_opens(const volume::Config& config, SlotKind kind,
                                           Bytes secret, std::uint32_t except) {
    for (const volume::KeySlot& slot : config.slots) {
        if (slot.kind != kind || slot.id == except) continue;
        if (volume::open_slot(config, volume::OpeningSecret(kind, secret, slot.id))) return slot.id;
    }
    return std::nullopt;
}

// Nobody else has what was drawn just now.
std::optional<std::uint32_t> slot_that_shares(const volume::Config& config, SlotKind kind,
                                              const NewKey& key, std::uint32_t except) {
    if (key.needs_no_stretching) return std::nullopt;
    return slot_it_opens(config, kind, key.secret.bytes(), except);
}

void tell_shared(std::optional<std::uint32_t> other) {
    if (!other) return;
    tell_notice("what was given as the new key opens key slot " + std::to_string(*other) +
                " too: removing or changing one of both takes it from nobody");
}

bool is_given(const daemon::Credential& given, SlotKind kind, Bytes secret) {
    return given.kind == kind && crypto::equal_constant_time(given.secret.bytes(), secret);
}

// Whether `key`, which is to be in `slot`, is in it already. REQUIRES: before the change.
bool is_of_slot(const OpenedForChange& opened, const volume::KeySlot& slot, const NewKey& key) {
    if (key.needs_no_stretching) return false;
    if (opened.slot == slot.id) return is_given(opened.given, slot.kind, key.secret.bytes());
    const volume::OpeningSecret secret(slot.kind, key.secret.bytes(), slot.id);
    return volume::open_slot(opened.editor.config(), secret).has_value();
}

// After slot `ended` was changed or removed: whether what opened the volume now still does, where
// somebody could take it for what is ended.
std::optional<std::uint32_t> still_opens(const OpenedForChange& opened,
                                         const volume::KeySlot& ended) {
    if (opened.given.kind != ended.kind) return std::nullopt;
    if (opened.slot != ended.id) return opened.slot;
    const Progress progress("Trying the old key");
    return slot_it_opens(opened.editor.config(), ended.kind, opened.given.secret.bytes(), ended.id);
}

void say_what_stays(const char* copies, std::optional<std::uint32_t> other) {
    if (other) std::printf("What you gave still opens key slot %u.\n", *other);
    std::printf("%s%s%s", copies, kCopiesElsewhere, kInnerKeyStays);
}

Outcome<void> check_room(const volume::Config& config) {
    if (config.slots.size() < volume::kMaxSlots) return {};
    return fail(FailureKind::kKeySlot, "the volume has ", std::to_string(volume::kMaxSlots),
                " key slots, and no more fit; remove one first ('extencfs key remove')");
}

Outcome<void> add_key(const ChangeOptions& options) {
    volume::NewSlot slot;
    slot.kind = kTypes.at(options.type);
    slot.label = options.label.empty() ? options.type : options.label;
    if (auto fit = check_new_token(slot.kind, options.token); !fit) return fit;
    auto opened = open_for_change(options, [&](const volume::Config& config) -> Outcome<void> {
        if (auto fit = check_label(slot.label); !fit) return fit;
        if (auto fit = check_new_key(slot.kind, options.fresh, options.directory); !fit) return fit;
        return check_room(config);
    });
    if (!opened) return std::unexpected(opened.error());
    if (volume::is_token(slot.kind)) {
        const auto added = add_token(opened->editor, slot, options.token, options.directory);
        if (!added) return std::unexpected(added.error());
        say("Added", *volume::find_slot(opened->editor.config(), added->slot), added->notices);
        return {};
    }
    auto key = make_new_key(slot.kind, options.fresh, options.directory);
    if (!key) return std::unexpected(key.error());
    std::optional<std::uint32_t> shared;
    const auto added = [&] {
        const Progress progress("Deriving the key");
        shared = slot_that_shares(opened->editor.config(), slot.kind, *key, 0);
        slot.cost =
            key->needs_no_stretching ? crypto::kArgon2Least : chosen_cost(options.fresh.kdf);
        return opened->editor.add(slot, key->secret.bytes());
    }();
    if (!added) {
        tell_made(*key);
        return std::unexpected(added.error());
    }
    tell_shared(shared);
    say("Added", *volume::find_slot(opened->editor.config(), added->slot), added->notices);
    return {};
}

// Of what is given, before it is read; a device's: any of those.
SlotKind kind_given(const UnlockOptions& options) {
    if (!options.keyfile.empty()) return SlotKind::kKeyfile;
    if (!options.recovery.empty()) return SlotKind::kRecovery;
    return options.token_only ? SlotKind::kTpm2 : SlotKind::kPassword;
}

Outcome<std::uint32_t> only_password(const volume::Config& config) {
    const auto is_password = [](const volume::KeySlot& one) {
        return one.kind == SlotKind::kPassword;
    };
    const auto found = std::ranges::find_if(config.slots, is_password);
    if (found == config.slots.end()) {
        return fail(FailureKind::kKeySlot,
                    "the volume has no password to change; add one with 'extencfs key add'");
    }
    if (std::ranges::count_if(config.slots, is_password) == 1) return found->id;
    return fail(FailureKind::kKeySlot,
                "the volume has several passwords; name the one to change by --slot ('extencfs key "
                "list' shows them)");
}

// 0: the one that opens.
Outcome<std::uint32_t> slot_to_change(const volume::Config& config, const ChangeOptions& options,
                                      Target target) {
    if (options.slot != 0) return options.slot;
    if (target == Target::kThePassword && kind_given(options.unlock) != SlotKind::kPassword) {
        return only_password(config);
    }
    return 0;
}

Outcome<void> check_change(const volume::Config& config, const ChangeOptions& options,
                           Target target) {
    const auto id = slot_to_change(config, options, target);
    if (!id) return std::unexpected(id.error());
    const SlotKind kind =
        *id != 0 ? volume::find_slot(config, *id)->kind : kind_given(options.unlock);
    if (auto can = check_can_change(kind); !can) return can;
    return check_new_key(kind, options.fresh, options.directory);
}

Outcome<void> confirm_end(const ChangeOptions& options, const volume::Config& config) {
    const bool devices_stay = volume::openable_slots(config) > 1;
    if (!options.force && devices_stay) {
        return fail(FailureKind::kKeySlot, "key slot ", std::to_string(options.slot),
                    " is the last that needs no device, and without that device nobody could open "
                    "the volume; add a recovery key first, or give --force");
    }
    if (!options.force) {
        return fail(FailureKind::kKeySlot, "key slot ", std::to_string(options.slot),
                    " is the last that opens the volume; add another first, or give --force to "
                    "make its files unreadable for ever");
    }
    const auto agreed = confirm_word(
        (devices_stay ? "Without this key, and once its devices are lost or cleared, nobody can "
                      : "Without this key nobody can ") +
            ("ever read the files in " + options.directory + " again."),
        "unreadable");
    if (!agreed) return std::unexpected(agreed.error());
    if (*agreed) return {};
    return fail(FailureKind::kKeySlot, "it was not confirmed; nothing was changed, the key stays");
}

Outcome<void> remove_key(const ChangeOptions& options) {
    auto opened = open_for_change(options, [](const volume::Config&) { return Outcome<void>(); });
    if (!opened) return std::unexpected(opened.error());
    const volume::Config& config = opened->editor.config();
    const volume::KeySlot before = *volume::find_slot(config, options.slot);
    const bool of_people = before.kind != SlotKind::kForeign && !volume::is_token(before.kind);
    const bool last = before.kind != SlotKind::kForeign && volume::openable_slots(config) == 1;
    if (last || (of_people && volume::slots_of_people(config) == 1)) {
        if (auto agreed = confirm_end(options, config); !agreed) return agreed;
    }
    const auto removed = opened->editor.remove(options.slot);
    if (!removed) return std::unexpected(removed.error());
    forget_kept(opened->editor.config());
    say("Removed", before, removed->notices);
    const auto other = still_opens(*opened, before);
    say_what_stays("It is still in copies elsewhere: ", other);
    return {};
}

}  // namespace

Outcome<OpenedForChange> open_for_change(const ChangeOptions& options, const SlotCheck& check) {
    if (auto hard = daemon::harden_process(); !hard) return std::unexpected(hard.error());
    auto fs = lower::make_posix_lower_fs();
    auto editor = daemon::KeyEditor::open(*fs, options.directory);
    if (!editor) return std::unexpected(editor.error());
    if (auto there = check_slot(editor->config(), options.slot); !there) {
        return std::unexpected(there.error());
    }
    if (auto can = check(editor->config()); !can) return std::unexpected(can.error());
    auto given =
        find_credential(options.unlock, &editor->config(), options.directory, Search::kWhatIsNamed);
    if (!given) return std::unexpected(given.error());
    const auto slot = [&] {
        const Progress progress("Deriving the key");
        return editor->unlock(given->view());
    }();
    if (!slot) return std::unexpected(of_no_slot(slot.error(), editor->config()));
    for (const std::string& notice : editor->notices()) tell_notice(notice);
    // What the copy says that is authentic may be something else.
    if (auto there = check_slot(editor->config(), options.slot); !there) {
        return std::unexpected(there.error());
    }
    return OpenedForChange{std::move(fs), std::move(*editor), std::move(*given), *slot};
}

Outcome<void> change_key(const ChangeOptions& options, Target target) {
    auto opened = open_for_change(options, [&](const volume::Config& config) {
        return check_change(config, options, target);
    });
    if (!opened) return std::unexpected(opened.error());
    const auto named = slot_to_change(opened->editor.config(), options, target);
    if (!named) return std::unexpected(named.error());
    const std::uint32_t id = *named != 0 ? *named : opened->slot;
    const volume::KeySlot before = *volume::find_slot(opened->editor.config(), id);
    auto key = make_new_key(before.kind, options.fresh, options.directory);
    if (!key) return std::unexpected(key.error());
    std::optional<std::uint32_t> shared;
    bool same = false;
    const auto changed = [&] {
        const Progress progress("Deriving the key");
        same = is_of_slot(*opened, before, *key);
        shared = slot_that_shares(opened->editor.config(), before.kind, *key, id);
        const auto cost = key->needs_no_stretching ? crypto::kArgon2Least
                                                   : upgraded_cost(options.fresh.kdf, before.cost);
        return opened->editor.change(id, cost, key->secret.bytes());
    }();
    if (!changed) {
        tell_made(*key);
        return std::unexpected(changed.error());
    }
    forget_kept(opened->editor.config());
    tell_shared(shared);
    const volume::KeySlot& after = *volume::find_slot(opened->editor.config(), id);
    if (same) {
        tell_notice("the new key is what it was before");
        say("Changed", after, changed->notices);
        return {};
    }
    say("Changed", after, changed->notices);
    const auto other = is_given(opened->given, before.kind, key->secret.bytes())
                           ? std::nullopt
                           : still_opens(*opened, before);
    say_what_stays(other ? "Otherwise what opened it before opens it in copies elsewhere only: "
                         : "What opened it before opens it in copies elsewhere only: ",
                   other);
    return {};
}

namespace {

using Verb = Outcome<void> (*)(const ChangeOptions&);

CLI::App* add(CLI::App& above, int& exit_code, const char* name, const char* what, Verb verb,
              const std::shared_ptr<ChangeOptions>& options) {
    auto* command = above.add_subcommand(name, what);
    add_unlock_options(*command, options->unlock);
    add_token_option(*command, options->unlock);
    command->add_option("CIPHERDIR", options->directory, "The volume")->required();
    command->callback([options, verb, &exit_code] {
        const auto done = verb(*options);
        exit_code = done ? kExitOk
                         : tell_unopened(done.error(), options->unlock, options->directory,
                                         Takes::kBothKinds);
    });
    return command;
}

CLI::Option* add_target(CLI::App& command, std::uint32_t& slot, const char* what) {
    return command.add_option("--slot", slot, what)->check(slot_number)->type_name("N");
}

void add_change(CLI::App& above, int& exit_code, const char* name, const char* what, Verb verb) {
    auto options = std::make_shared<ChangeOptions>();
    auto* command = add(above, exit_code, name, what, verb, options);
    add_new_key_options(*command, options->fresh, "name such a key by --slot");
    add_target(*command, options->slot,
               "The key slot to change; without it the one that what you give opens");
}

}  // namespace

void add_key_change_commands(CLI::App& root, CLI::App& key, int& exit_code) {
    auto added = std::make_shared<ChangeOptions>();
    auto* adding = add(key, exit_code, "add", "Add a key; the others stay", add_key, added);
    adding
        ->add_option("--type", added->type,
                     "password (the default), keyfile, recovery, systemd, tpm2 or fido2")
        ->check(CLI::IsMember({"password", "keyfile", "recovery", "systemd", "tpm2", "fido2"}))
        ->type_name("TYPE");
    adding->add_option("--label", added->label, "A word for the listing; default: the type")
        ->type_name("TEXT");
    add_new_key_options(*adding, added->fresh, "choose that by --type");
    add_new_token_options(*adding, added->token);
    adding->footer("Example:\n  extencfs key add --type keyfile --new-keyfile stick.key ~/.vault");

    add_change(
        key, exit_code, "change", "Put another password, key file or recovery key in place of one",
        [](const ChangeOptions& options) { return change_key(options, Target::kWhatOpened); });
    key.get_subcommand("change")->footer(
        "Example:\n  extencfs key change --recovery - --slot 1 ~/.vault");
    add_change(root, exit_code, "passwd", "Change the password, of a volume of EncFS too",
               change_password);
    root.get_subcommand("passwd")->footer("Example:\n  extencfs passwd ~/.vault");

    auto removed = std::make_shared<ChangeOptions>();
    auto* removing = add(key, exit_code, "remove", "Remove a key", remove_key, removed);
    add_target(*removing, removed->slot, "The key slot to remove")->required();
    removing->add_flag("--force", removed->force,
                       "Also the last one, which makes the files unreadable; asks first");
    removing->footer("Example:\n  extencfs key remove --slot 2 ~/.vault");
}

}  // namespace extencfs::tools
