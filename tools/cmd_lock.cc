// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "encfs/daemon/volume_on_disk.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/token/key_cache.h"
#include "encfs/volume/format.h"
#include "tools/advice.h"
#include "tools/command.h"
#include "tools/token_words.h"

namespace extencfs::tools {
namespace {

// Whether there was a key to forget.
daemon::Outcome<bool> lock(const std::string& directory) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, directory);
    if (!disk) return std::unexpected(disk.error());
    bool any = false;
    bool named = false;
    // Two copies that were put beside each other may name two volumes.
    for (const char* name : {volume::kConfigName, volume::kConfigBackupName}) {
        const auto copy = disk->read_copy(name);
        if (!copy) continue;
        named = true;
        const auto forgotten = token::forget_key(copy->config.volume_id);
        if (!forgotten) return std::unexpected(token_failure(forgotten.error()));
        any = any || *forgotten;
    }
    if (named) return any;
    const auto copies = disk->read_config();
    if (!copies) return std::unexpected(copies.error());
    return any;
}

}  // namespace

void add_lock(CLI::App& root, int& exit_code) {
    auto directory = std::make_shared<std::string>();
    auto* command = root.add_subcommand(
        "lock", "Forget the key that 'mount --cache-key' kept; a mount stays as it is");
    command->add_option("CIPHERDIR", *directory, "The volume")->required();
    command->footer("Example:\n  extencfs lock ~/.vault");
    command->callback([directory, &exit_code] {
        const auto done = lock(*directory);
        if (done) std::printf("%s\n", *done ? "Forgot the key." : "No key was kept.");
        exit_code = done ? kExitOk : tell(advised(done.error(), *directory, Takes::kOwnVolumes));
    });
}

}  // namespace extencfs::tools
