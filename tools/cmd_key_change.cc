// SPDX-License-Identifier: Apache-2.0
// key add, change, remove; passwd.
#include <cstdio>
#include <map>
#include <memory>

#include "encfs/daemon/hardening.h"
#include "encfs/daemon/key_editor.h"
#include "encfs/daemon/legacy_key.h"
#include "encfs/daemon/legacy_on_disk.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/token/key_cache.h"
#include "encfs/volume/format.h"
#include "tools/cmd_key.h"
#include "tools/command.h"
#include "tools/confirm.h"
#include "tools/key_source.h"
#include "tools/new_key.h"
#include "tools/new_token.h"
#include "tools/progress.h"
#include "tools/token_source.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;
using volume::SlotKind;

struct ChangeOptions {
    UnlockOptions unlock;
    NewKeyOptions fresh;
    NewTokenOptions token;
    std::string type = "password";
    std::string label;
    std::string directory;
    std::uint32_t slot = 0;  // that is changed or removed; 0: the one that opened
    bool force = false;
};

const std::map<std::string, SlotKind> kTypes{
    {"password", SlotKind::kPassword}, {"keyfile", SlotKind::kKeyfile},
    {"recovery", SlotKind::kRecovery}, {"systemd", SlotKind::kSystemd},
    {"tpm2", SlotKind::kTpm2},         {"fido2", SlotKind::kFido2}};

constexpr const char* kNotErased =
    "exports, backups, snapshots, what an SSD has not erased yet.\n"
    "Whoever opened the volume once may have kept its inner key; 'extencfs key rotate' changes "
    "that.\n";

// A volume that is held, and its lower file system.
struct Opened {
    std::unique_ptr<lower::LowerFs> fs;
    daemon::KeyEditor editor;
    std::uint32_t slot;  // that opened
};

Outcome<Opened> open_editor(const ChangeOptions& options) {
    if (auto hard = daemon::harden_process(); !hard) return std::unexpected(hard.error());
    auto fs = lower::make_posix_lower_fs();
    auto editor = daemon::KeyEditor::open(*fs, options.directory);
    if (!editor) return std::unexpected(editor.error());
    // What cannot be done fails before a password is asked for.
    if (options.slot != 0 && volume::find_slot(editor->config(), options.slot) == nullptr) {
        return fail(FailureKind::kKeySlot, "the volume has no key slot ",
                    std::to_string(options.slot), "; 'extencfs key list' shows those it has");
    }
    const auto given =
        find_credential(options.unlock, &editor->config(), options.directory, Search::kWhatIsNamed);
    if (!given) return std::unexpected(given.error());
    const Progress progress("Deriving the key");
    const auto slot = editor->unlock(given->view());
    if (!slot) return std::unexpected(slot.error());
    for (const std::string& notice : editor->notices()) tell_notice(notice);
    return Opened{std::move(fs), std::move(*editor), *slot};
}

void say(const char* done, const volume::KeySlot& slot, const daemon::Notices& notices) {
    for (const std::string& notice : notices) tell_notice(notice);
    std::printf("%s %s.\n", done, slot_words(slot).c_str());
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

Outcome<void> add_key(const ChangeOptions& options) {
    volume::NewSlot slot;
    slot.kind = kTypes.at(options.type);
    slot.label = options.label.empty() ? options.type : options.label;
    if (auto fit = check_new_token(slot.kind, options.token); !fit) return fit;
    auto opened = open_editor(options);
    if (!opened) return std::unexpected(opened.error());
    if (volume::is_token(slot.kind)) {
        if (auto fit = check_new_key(slot.kind, options.fresh); !fit) return fit;
        const auto added = add_token(opened->editor, slot, options.token, options.directory);
        if (!added) return std::unexpected(added.error());
        say("Added", *volume::find_slot(opened->editor.config(), added->slot), added->notices);
        return {};
    }
    auto key = make_new_key(slot.kind, options.fresh, options.directory);
    if (!key) return std::unexpected(key.error());
    const auto added = [&] {
        const Progress progress("Deriving the key");
        slot.cost =
            key->needs_no_stretching ? crypto::kArgon2Least : chosen_cost(options.fresh.kdf);
        return opened->editor.add(slot, key->secret.bytes());
    }();
    if (!added) {
        tell_made(*key);
        return std::unexpected(added.error());
    }
    say("Added", *volume::find_slot(opened->editor.config(), added->slot), added->notices);
    return {};
}

Outcome<void> change_key(const ChangeOptions& options) {
    auto opened = open_editor(options);
    if (!opened) return std::unexpected(opened.error());
    const std::uint32_t id = options.slot != 0 ? options.slot : opened->slot;
    const volume::KeySlot before = *volume::find_slot(opened->editor.config(), id);
    auto key = make_new_key(before.kind, options.fresh, options.directory);
    if (!key) return std::unexpected(key.error());
    const auto changed = [&] {
        const Progress progress("Deriving the key");
        const auto cost = key->needs_no_stretching ? crypto::kArgon2Least
                                                   : upgraded_cost(options.fresh.kdf, before.cost);
        return opened->editor.change(id, cost, key->secret.bytes());
    }();
    if (!changed) {
        tell_made(*key);
        return std::unexpected(changed.error());
    }
    forget_kept(opened->editor.config());
    say("Changed", *volume::find_slot(opened->editor.config(), id), changed->notices);
    std::printf("What opened it before opens it in copies elsewhere only: %s", kNotErased);
    return {};
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
    auto opened = open_editor(options);
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
    std::printf("It is still in copies elsewhere: %s", kNotErased);
    return {};
}

// Nothing where that is no volume of EncFS.
Outcome<std::optional<daemon::LegacyConfig>> legacy_config(const daemon::VolumeOnDisk& disk) {
    for (const char* name : {volume::kConfigName, volume::kConfigBackupName}) {
        if (disk.fs().stat_at(disk.root_fd(), name)) return std::nullopt;
    }
    return daemon::read_legacy_config(disk.fs(), disk.root_fd(), "");
}

Outcome<void> change_legacy_password(const ChangeOptions& options, const daemon::VolumeOnDisk& disk,
                                     daemon::LegacyConfig config) {
    if (auto hard = daemon::harden_process(); !hard) return std::unexpected(hard.error());
    const auto given = read_credential(options.unlock, options.directory);
    if (!given) return std::unexpected(given.error());
    if (given->kind != SlotKind::kPassword || options.slot != 0) {
        return fail(FailureKind::kKeySlot, options.directory,
                    " is a volume of EncFS, which has one password and no other keys; give that");
    }
    const auto secret = daemon::open_legacy_key(config, given->secret.bytes());
    if (!secret) return std::unexpected(secret.error());
    const auto fresh = make_new_key(SlotKind::kPassword, options.fresh, options.directory);
    if (!fresh) return std::unexpected(fresh.error());
    const Progress progress("Deriving the key");
    const Bytes password = fresh->secret.bytes();
    if (auto set = daemon::set_legacy_password(config, secret->bytes(), password); !set) return set;
    // What is about to be the only way in is tried first.
    const auto again = daemon::open_legacy_key(config, password);
    if (!again || !crypto::equal_constant_time(again->bytes(), secret->bytes())) {
        return fail(FailureKind::kOther,
                    "the new password does not open the key; nothing was changed, please report "
                    "it");
    }
    return daemon::write_legacy_config(disk.fs(), disk.root_fd(), config);
}

Outcome<void> change_password(const ChangeOptions& options) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, options.directory);
    if (!disk) return std::unexpected(disk.error());
    auto config = legacy_config(*disk);
    if (!config) return std::unexpected(config.error());
    if (!*config) return change_key(options);
    auto done = change_legacy_password(options, *disk, std::move(**config));
    if (done)
        std::printf("Changed the password. The old one still opens copies elsewhere: %s",
                    kNotErased);
    return done;
}

using Verb = Outcome<void> (*)(const ChangeOptions&);

CLI::App* add(CLI::App& above, int& exit_code, const char* name, const char* what, Verb verb,
              const std::shared_ptr<ChangeOptions>& options) {
    auto* command = above.add_subcommand(name, what);
    add_unlock_options(*command, options->unlock);
    add_token_option(*command, options->unlock);
    command->add_option("CIPHERDIR", options->directory, "The volume")->required();
    command->callback([options, verb, &exit_code] {
        const auto done = verb(*options);
        exit_code = done ? kExitOk : tell(done.error());
    });
    return command;
}

CLI::Option* add_target(CLI::App& command, std::uint32_t& slot, const char* what) {
    return command.add_option("--slot", slot, what)->check(CLI::PositiveNumber)->type_name("N");
}

void add_change(CLI::App& above, int& exit_code, const char* name, const char* what, Verb verb) {
    auto options = std::make_shared<ChangeOptions>();
    auto* command = add(above, exit_code, name, what, verb, options);
    add_new_key_options(*command, options->fresh);
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
    add_new_key_options(*adding, added->fresh);
    add_new_token_options(*adding, added->token);
    adding->footer("Example:\n  extencfs key add --type keyfile --new-keyfile stick.key ~/.vault");

    add_change(key, exit_code, "change",
               "Put another password, key file or recovery key in place of one", change_key);
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
