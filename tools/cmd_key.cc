// SPDX-License-Identifier: Apache-2.0
// key list and key test, and the table of what else there is below `key`.
#include "tools/cmd_key.h"

#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "encfs/daemon/hardening.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/volume/slots.h"
#include "tools/advice.h"
#include "tools/command.h"
#include "tools/json_failure.h"
#include "tools/key_source.h"
#include "tools/progress.h"
#include "tools/token_source.h"
#include "tools/token_words.h"

namespace extencfs::tools {
namespace {

using Json = nlohmann::ordered_json;

struct KeyOptions {
    UnlockOptions unlock;
    std::string directory;
    bool json = false;
};

bool is_openable(const volume::KeySlot& slot) {
    return slot.kind != volume::SlotKind::kForeign;
}

Json slot_json(const volume::KeySlot& slot) {
    Json kdf;
    if (is_openable(slot) && !volume::is_token(slot.kind)) {
        kdf = {{"name", "argon2id"},
               {"memory_kib", slot.cost.memory_kib},
               {"passes", slot.cost.passes},
               {"lanes", slot.cost.lanes}};
    }
    return {{"id", slot.id},
            {"type", slot.kind_name},
            {"label", slot.label},
            {"created", slot.created},
            {"changed", slot.changed},
            {"kdf", std::move(kdf)},
            {"known", is_openable(slot)},
            {"token", token_json(slot)}};
}

std::string kdf_words(const volume::KeySlot& slot) {
    if (!is_openable(slot)) return "not known to this version";
    if (volume::is_token(slot.kind)) return token_words(slot);
    return fmt::format("argon2id {} MiB, {} passes, {} lanes", slot.cost.memory_kib / 1024,
                       slot.cost.passes, slot.cost.lanes);
}

ExitCode list(const KeyOptions& options) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, options.directory);
    const auto copies = disk ? disk->read_config()
                             : daemon::Outcome<daemon::ConfigCopies>(std::unexpected(disk.error()));
    if (!copies) {
        const auto failure = advised(copies.error(), options.directory, Takes::kOwnVolumes);
        return options.json ? tell_json(failure) : tell(failure);
    }
    const volume::Config& config = copies->usable.front().config;
    if (options.json) {
        Json slots = Json::array();
        for (const volume::KeySlot& slot : config.slots) slots.push_back(slot_json(slot));
        const Json all{{"slots", std::move(slots)}, {"notices", copies->notices}};
        std::printf("%s\n", all.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
        return kExitOk;
    }
    std::printf("%-5s %-10s %-21s %-21s %-36s %s\n", "SLOT", "TYPE", "CREATED", "CHANGED", "KDF",
                "LABEL");
    for (const volume::KeySlot& slot : config.slots) {
        std::printf("%-5u %-10s %-21s %-21s %-36s %s\n", slot.id, slot.kind_name.c_str(),
                    slot.created.c_str(), slot.changed.c_str(), kdf_words(slot).c_str(),
                    daemon::printable(slot.label).c_str());
    }
    for (const std::string& notice : copies->notices) tell_notice(notice);
    return kExitOk;
}

daemon::Outcome<std::string> opened_by(const KeyOptions& options) {
    if (auto hard = daemon::harden_process(); !hard) return std::unexpected(hard.error());
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, options.directory);
    if (!disk) return std::unexpected(disk.error());
    const auto copies = disk->read_config();
    if (!copies) return std::unexpected(copies.error());
    const auto given = find_credential(options.unlock, &copies->usable.front().config,
                                       options.directory, Search::kWhatIsNamed);
    if (!given) return std::unexpected(given.error());
    const Progress progress("Deriving the key");
    const auto unlocked =
        daemon::VolumeOnDisk::unlock(*copies, given->view(), daemon::InRotation::kAllowed);
    if (!unlocked) {
        return std::unexpected(of_no_slot(unlocked.error(), copies->usable.front().config));
    }
    for (const std::string& notice : unlocked->notices) tell_notice(notice);
    return slot_words(*volume::find_slot(unlocked->config, unlocked->slot));
}

ExitCode test(const KeyOptions& options) {
    const auto opened = opened_by(options);
    if (!opened)
        return tell_unopened(opened.error(), options.unlock, options.directory, Takes::kOwnVolumes);
    std::printf("It opens %s.\n", opened->c_str());
    return kExitOk;
}

}  // namespace

std::string slot_words(const volume::KeySlot& slot) {
    return fmt::format("key slot {} ({}, \"{}\")", slot.id, slot.kind_name,
                       daemon::printable(slot.label));
}

void add_key_commands(CLI::App& root, int& exit_code) {
    auto* key = root.add_subcommand("key", "Show, add, change and remove what opens a volume");
    key->require_subcommand(1);
    key->footer("Example:\n  extencfs key add --type recovery ~/.vault");

    auto options = std::make_shared<KeyOptions>();
    auto* listing = key->add_subcommand(
        "list", "Show the key slots; needs no password, so nothing is authenticated");
    listing->add_flag("--json", options->json, "Print JSON (keys: see CLI_ABI.md)");
    listing->add_option("CIPHERDIR", options->directory, "The volume")->required();
    listing->footer("Example:\n  extencfs key list ~/.vault");
    listing->callback([options, &exit_code] { exit_code = list(*options); });

    auto tested = std::make_shared<KeyOptions>();
    auto* trial = key->add_subcommand("test", "Tell whether a key opens the volume, and which");
    add_unlock_options(*trial, tested->unlock);
    add_slot_option(*trial, tested->unlock);
    add_token_option(*trial, tested->unlock);
    trial->add_option("CIPHERDIR", tested->directory, "The volume")->required();
    trial->footer("Example:\n  extencfs key test --recovery - ~/.vault");
    trial->callback([tested, &exit_code] { exit_code = test(*tested); });

    add_key_change_commands(root, *key, exit_code);
    add_key_header_commands(*key, exit_code);
    add_key_rotate_command(*key, exit_code);
}

}  // namespace extencfs::tools
