// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <cstdio>
#include <memory>
#include <utility>

#include "encfs/daemon/hardening.h"
#include "encfs/daemon/legacy_key.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/volume_on_disk.h"
#include "tools/encfs_info.h"
#include "tools/encfs_password.h"
#include "tools/encfsctl.h"
#include "tools/migration_check.h"

namespace extencfs::tools {
namespace {

using daemon::FailureKind;
using daemon::Outcome;

// A volume's configuration as it lies there.
struct Opened {
    std::unique_ptr<lower::LowerFs> fs;
    daemon::VolumeOnDisk disk;
    daemon::LegacyConfig config;
};

// Its password and key are of no use, or no good, in the middle of a migration.
Outcome<Opened> open_config(const char* directory, Use use) {
    if (auto usable = check_migration(directory, {}, use); !usable)
        return std::unexpected(usable.error());
    auto fs = lower::make_posix_lower_fs();
    auto disk = daemon::VolumeOnDisk::open(*fs, directory);
    if (!disk) return std::unexpected(disk.error());
    if (auto whole = disk->check_not_migrating(); !whole) return std::unexpected(whole.error());
    auto config = daemon::read_legacy_config(*fs, disk->root_fd(), "");
    if (!config) return std::unexpected(config.error());
    if (!*config)
        return daemon::fail(FailureKind::kCipherDir, "Unable to load or parse config file");
    return Opened{std::move(fs), std::move(*disk), std::move(**config)};
}

// The verbs that say so on stdout, with what is wrong beside it.
int no_config(const daemon::Failure& failure) {
    constexpr const char* kWords = "Unable to load or parse config file";
    std::printf("%s\n", kWords);
    if (failure.sentence != kWords)
        std::fprintf(stderr, "encfsctl: %s\n", daemon::printable(failure.sentence).c_str());
    return 1;
}

enum class Asked : bool { kOnStdin, kByPrompt };

int change_password(Words words, Asked asked) {
    if (!encfsctl_has_directory(words[0])) return 1;
    if (auto hardened = daemon::harden_process(); !hardened) return encfsctl_tell(hardened.error());
    auto volume = open_config(words[0], Use::kWrite);
    if (!volume) return no_config(volume.error());
    std::printf("Enter current Encfs password\n");
    std::fflush(stdout);
    const auto old = asked == Asked::kOnStdin ? encfs_stdin_password() : encfs_prompt_password();
    if (!old) return encfsctl_tell(old.error());
    const auto secret = daemon::open_legacy_key(volume->config, old->bytes());
    if (!secret && secret.error().kind == FailureKind::kWrongPassword) {
        std::printf("Invalid password\n");
        return 1;
    }
    if (!secret) return encfsctl_tell(secret.error());
    std::printf("Enter new Encfs password\n");
    std::fflush(stdout);
    const auto fresh =
        asked == Asked::kOnStdin ? encfs_stdin_password() : encfs_prompt_new_password();
    if (!fresh) return encfsctl_tell(fresh.error());
    auto set = daemon::set_legacy_password(volume->config, secret->bytes(), fresh->bytes());
    daemon::Notices left;
    if (set) {
        set =
            daemon::write_legacy_config(*volume->fs, volume->disk.root_fd(), volume->config, &left);
    }
    if (!set) {
        std::printf("Error saving modified config file.\n");
        return encfsctl_tell(set.error());
    }
    for (const std::string& notice : left)
        std::fprintf(stderr, "encfsctl: notice: %s\n", daemon::printable(notice).c_str());
    std::printf("Volume Key successfully updated.\n");
    return 0;
}

}  // namespace

bool encfsctl_has_directory(const std::string& path) {
    struct stat is {};
    if (::stat(path.c_str(), &is) == 0 && S_ISDIR(is.st_mode)) return true;
    std::fprintf(stderr, "directory %s does not exist.\n", path.c_str());
    return false;
}

int encfsctl_tell(const daemon::Failure& failure) {
    if (failure.kind == FailureKind::kWrongPassword) {
        std::printf("Error decoding volume key, password incorrect\n");
    } else if (failure.sentence.starts_with("fatal: ")) {
        std::fprintf(stderr, "%s\n", failure.sentence.c_str());
    } else {
        std::fprintf(stderr, "encfsctl: %s\n", daemon::printable(failure.sentence).c_str());
    }
    return 1;
}

int encfsctl_info(Words words) {
    if (!encfsctl_has_directory(words[0])) return 1;
    const auto volume = open_config(words[0], Use::kRead);
    if (!volume) return no_config(volume.error());
    const legacy::Config& config = volume->config.config;
    std::printf("\n%s\n%s\n", daemon::printable(encfs_version_line(config)).c_str(),
                encfs_properties(config).c_str());
    return 0;
}

int encfsctl_show_key(Words words) {
    if (!encfsctl_has_directory(words[0])) return 1;
    if (auto hardened = daemon::harden_process(); !hardened) return encfsctl_tell(hardened.error());
    const auto volume = open_config(words[0], Use::kRead);
    if (!volume) return no_config(volume.error());
    const auto password = encfs_prompt_password();
    if (!password) return encfsctl_tell(password.error());
    const auto secret = daemon::open_legacy_key(volume->config, password->bytes());
    if (!secret) return encfsctl_tell(secret.error());
    const auto text = daemon::legacy_key_text(volume->config, secret->bytes());
    if (!text) return encfsctl_tell(text.error());
    std::printf("%s\n", text->c_str());
    return 0;
}

int encfsctl_passwd(Words words) {
    return change_password(words, Asked::kByPrompt);
}

int encfsctl_auto_passwd(Words words) {
    return change_password(words, Asked::kOnStdin);
}

int encfsctl_auto_check_passwd(Words words) {
    if (!encfsctl_has_directory(words[0])) return 1;
    if (auto hardened = daemon::harden_process(); !hardened) return encfsctl_tell(hardened.error());
    const auto volume = open_config(words[0], Use::kRead);
    if (!volume) return no_config(volume.error());
    std::printf("Enter current Encfs password\n");
    std::fflush(stdout);
    const auto password = encfs_stdin_password();
    if (!password) return encfsctl_tell(password.error());
    const auto secret = daemon::open_legacy_key(volume->config, password->bytes());
    if (secret) {
        std::printf("Password is correct\n");
        return 0;
    }
    if (secret.error().kind != FailureKind::kWrongPassword) return encfsctl_tell(secret.error());
    std::printf("Invalid password\n");
    return 1;
}

}  // namespace extencfs::tools
