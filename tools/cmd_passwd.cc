// SPDX-License-Identifier: Apache-2.0
// passwd: of a volume of this program's own, and of EncFS.
#include <cstdio>
#include <optional>

#include "encfs/daemon/hardening.h"
#include "encfs/daemon/legacy_key.h"
#include "encfs/daemon/legacy_on_disk.h"
#include "encfs/volume/format.h"
#include "tools/command.h"
#include "tools/key_change.h"
#include "tools/progress.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;
using volume::SlotKind;

// Its volumes have no inner key that could be rotated.
constexpr const char* kInnerKeyStays =
    "Whoever opened the volume once may have kept its inner key; 'extencfs migrate' makes a volume "
    "with\nanother one.\n";

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
    if (options.unlock.token_only) {
        return fail(FailureKind::kToken, options.directory,
                    " is a volume of EncFS, which no device opens; leave out --token-only");
    }
    NewKeyOptions fresh_options = options.fresh;
    fresh_options.otherwise.clear();  // there is no other type
    if (auto fit = check_new_key(SlotKind::kPassword, fresh_options, options.directory); !fit) {
        return fit;
    }
    const auto given = read_credential(options.unlock, options.directory);
    if (!given) return std::unexpected(given.error());
    if (given->kind != SlotKind::kPassword || options.slot != 0) {
        return fail(FailureKind::kKeySlot, options.directory,
                    " is a volume of EncFS, which has one password and no other keys; give that");
    }
    const auto secret = daemon::open_legacy_key(config, given->secret.bytes());
    if (!secret) return std::unexpected(secret.error());
    const auto fresh = make_new_key(SlotKind::kPassword, fresh_options, options.directory);
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
    daemon::Notices left;
    auto done = daemon::write_legacy_config(disk.fs(), disk.root_fd(), config, &left);
    if (done) {
        for (const std::string& notice : left) tell_notice(notice);
    }
    return done;
}

}  // namespace

Outcome<void> change_password(const ChangeOptions& options) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, options.directory);
    if (!disk) return std::unexpected(disk.error());
    auto config = legacy_config(*disk);
    if (!config) return std::unexpected(config.error());
    if (!*config) return change_key(options, Target::kThePassword);
    auto done = change_legacy_password(options, *disk, std::move(**config));
    if (done) {
        std::printf("Changed the password. The old one still opens copies elsewhere: %s%s",
                    kCopiesElsewhere, kInnerKeyStays);
    }
    return done;
}

}  // namespace extencfs::tools
