// SPDX-License-Identifier: Apache-2.0
#include "tools/advice.h"

#include <sys/stat.h>

#include "encfs/daemon/legacy_on_disk.h"
#include "encfs/daemon/mount_table.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/volume/format.h"
#include "encfs/volume/slots.h"
#include "tools/command.h"

namespace extencfs::tools {
namespace {

using daemon::Failure;
using daemon::FailureKind;

bool is_directory(const std::string& path) {
    struct stat is {};
    return ::stat(path.c_str(), &is) == 0 && S_ISDIR(is.st_mode);
}

// A dead mount cannot be looked at, but its path can be resolved.
std::optional<daemon::MountEntry> mount_at(const std::string& path) {
    const auto where = daemon::resolve_mountpoint(path);
    if (!where) return std::nullopt;
    auto entry = daemon::find_mount(*where);
    if (!entry || !daemon::is_extencfs(*entry)) return std::nullopt;
    return entry;
}

enum class Holds : std::uint8_t { kNothing, kOwnVolume, kEncfs };

Holds what_is_in(const std::string& path) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, path);
    if (!disk) return Holds::kNothing;
    for (const char* name : {volume::kConfigName, volume::kConfigBackupName}) {
        if (fs->stat_at(disk->root_fd(), name)) return Holds::kOwnVolume;
    }
    const auto config = daemon::read_legacy_config_in(*fs, disk->root_fd());
    return config && config->has_value() ? Holds::kEncfs : Holds::kNothing;
}

}  // namespace

Failure advised(Failure failure, const std::string& directory, Takes takes) {
    if (failure.kind != FailureKind::kCipherDir) return failure;
    const Holds holds = what_is_in(directory);
    if (holds == Holds::kEncfs && takes == Takes::kOwnVolumes) {
        failure.sentence = directory +
                           " is a volume of EncFS, which has one password and no key slots; "
                           "'extencfs passwd' changes it";
    }
    // A volume can lie at the root of another one.
    if (holds != Holds::kNothing) return failure;
    if (const auto mount = mount_at(directory)) {
        // Mounts may be given another name there.
        const bool told = mount->source.starts_with('/') && is_directory(mount->source);
        failure.sentence = directory + " is the mountpoint of a volume, not its directory; give " +
                           (told ? mount->source : "that");
    }
    return failure;
}

Failure of_no_slot(Failure failure, const volume::Config& config) {
    if (failure.kind != FailureKind::kWrongPassword || volume::openable_slots(config) != 0) {
        return failure;
    }
    failure.sentence =
        "the volume has no key slot left that could be opened; bring keys back that were exported "
        "('extencfs key import-header')";
    return failure;
}

void hint_at_password(const Failure& failure, const UnlockOptions& given) {
    const std::string& path = given.password.passfile;
    struct stat is {};
    // What is read once only is gone.
    if (failure.kind != FailureKind::kWrongPassword || path.empty() ||
        ::stat(path.c_str(), &is) != 0 || !S_ISREG(is.st_mode)) {
        return;
    }
    const auto password = read_password(given.password, Purpose::kOpen, "");
    if (!password) return;
    const std::string odd = oddness_of(password->bytes());
    if (!odd.empty()) {
        tell_notice("the first line of " + path + " " + odd + ", which is part of the password");
    }
}

ExitCode tell_unopened(const Failure& failure, const UnlockOptions& given,
                       const std::string& directory, Takes takes) {
    hint_at_password(failure, given);
    return tell(advised(failure, directory, takes));
}

}  // namespace extencfs::tools
