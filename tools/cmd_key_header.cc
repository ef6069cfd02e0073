// SPDX-License-Identifier: Apache-2.0
// key export-header, import-header.
#include <cstdio>
#include <memory>

#include "encfs/daemon/hardening.h"
#include "encfs/daemon/header_import.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/volume/format.h"
#include "encfs/volume/rotation.h"
#include "tools/advice.h"
#include "tools/cmd_key.h"
#include "tools/command.h"
#include "tools/key_source.h"
#include "tools/private_file.h"
#include "tools/progress.h"

namespace extencfs::tools {
namespace {

using daemon::Outcome;

constexpr std::size_t kMostHeader = 1024 * 1024;

struct HeaderOptions {
    UnlockOptions unlock;
    std::string directory;
    std::string file;
};

// Which of two that differ opens the volume, only who has a key can tell.
Outcome<void> check_equal(const daemon::ConfigCopies& copies) {
    if (copies.usable.size() < 2 || copies.usable[0].text == copies.usable[1].text) return {};
    // The first is the newer one; of a rotation that is over, the other may be left.
    if (volume::is_rotating(copies.usable.front().config)) {
        return daemon::fail(daemon::FailureKind::kDamage, volume::kConfigName, " and ",
                            volume::kConfigBackupName,
                            " differ, as a rotation of the keys was cut short; run 'extencfs key "
                            "rotate', which goes on with that, and run the same again");
    }
    return daemon::fail(daemon::FailureKind::kDamage, volume::kConfigName, " and ",
                        volume::kConfigBackupName,
                        " differ, and without a key nothing tells which is whole; mount the volume "
                        "once, which makes both the same, and run the same again");
}

Outcome<void> export_header(const HeaderOptions& options) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, options.directory);
    if (!disk) return std::unexpected(disk.error());
    const auto copies = disk->read_config();
    if (!copies) return std::unexpected(copies.error());
    if (auto equal = check_equal(*copies); !equal) return equal;
    const daemon::ConfigCopy& best = copies->usable.front();
    if (auto made = write_private_file(options.file, bytes_of(best.text)); !made) return made;
    for (const std::string& notice : copies->notices) tell_notice(notice);
    std::printf(
        "Wrote the keys of %s, as they are now (revision %llu), to %s.\nWhat opens the volume now "
        "will always open this file, and with it the volume.\n",
        options.directory.c_str(), static_cast<unsigned long long>(best.config.revision),
        options.file.c_str());
    return {};
}

Outcome<void> import_header(const HeaderOptions& options) {
    if (auto hard = daemon::harden_process(); !hard) return std::unexpected(hard.error());
    const auto text = read_small_file(options.file, kMostHeader, daemon::FailureKind::kConfigRead);
    if (!text) return std::unexpected(text.error());
    const auto fs = lower::make_posix_lower_fs();
    auto import = daemon::HeaderImport::prepare(*fs, options.directory, options.file,
                                                std::string(text_of(text->bytes())));
    if (!import) return std::unexpected(import.error());
    const auto given = read_credential(options.unlock, options.file);
    if (!given) return std::unexpected(given.error());
    const auto notices = [&] {
        const Progress progress("Deriving the key");
        return import->finish(given->view());
    }();
    if (!notices) return std::unexpected(notices.error());
    for (const std::string& notice : *notices) tell_notice(notice);
    std::printf("%s has the keys of %s again, and no others.\n", options.directory.c_str(),
                options.file.c_str());
    return {};
}

using Verb = Outcome<void> (*)(const HeaderOptions&);

CLI::App* add(CLI::App& key, int& exit_code, const char* name, const char* what, Verb verb,
              const std::shared_ptr<HeaderOptions>& options, const char* file) {
    auto* command = key.add_subcommand(name, what);
    command->add_option("CIPHERDIR", options->directory, "The volume")->required();
    command->add_option("FILE", options->file, file)->required();
    command->callback([options, verb, &exit_code] {
        const auto done = verb(*options);
        exit_code = done ? kExitOk
                         : tell_unopened(done.error(), options->unlock, options->directory,
                                         Takes::kOwnVolumes);
    });
    return command;
}

}  // namespace

void add_key_header_commands(CLI::App& key, int& exit_code) {
    auto exported = std::make_shared<HeaderOptions>();
    add(key, exit_code, "export-header", "Write the configuration, with all keys, to a file",
        export_header, exported, "The file; it must not be there yet")
        ->footer("Example:\n  extencfs key export-header ~/.vault vault.header");
    auto imported = std::make_shared<HeaderOptions>();
    auto* command = add(key, exit_code, "import-header",
                        "Put an exported configuration back, in place of the present keys",
                        import_header, imported, "What export-header wrote");
    add_unlock_options(*command, imported->unlock);
    add_slot_option(*command, imported->unlock);
    command->footer("Example:\n  extencfs key import-header ~/.vault vault.header");
}

}  // namespace extencfs::tools
