// SPDX-License-Identifier: Apache-2.0
// `encfs`: mounts a volume, makes one where there is none, unmounts.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "encfs/daemon/hardening.h"
#include "encfs/daemon/legacy_key.h"
#include "encfs/daemon/log.h"
#include "encfs/daemon/mount_table.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/volume/format.h"
#include "tools/encfs_cli.h"
#include "tools/encfs_create.h"
#include "tools/encfs_options.h"
#include "tools/encfs_password.h"
#include "tools/migration_check.h"

namespace extencfs::tools {
namespace {

using daemon::FailureKind;
using daemon::Outcome;

// The only code of a failure that EncFS has.
constexpr int kFailed = 1;

int usage(const std::string& what) {
    if (!what.empty()) std::fprintf(stderr, "%s\n", what.c_str());
    std::fprintf(stderr,
                 "Build: encfs version 1.9.5 (extencfs %s)\n\n"
                 "Usage: encfs [options] rootDir mountPoint [-- [FUSE Mount Options]]\n\n"
                 "Common Options:\n"
                 "  -H\t\t\tshow optional FUSE Mount Options\n"
                 "  -f\t\t\trun in foreground (don't spawn daemon)\n"
                 "  -S, --stdinpass\tread the password from standard input\n"
                 "  --extpass=program\tuse external program for password prompt\n"
                 "  -c, --config=path\tuse that config file\n"
                 "  -i, --idle=MINUTES\tauto unmount after period of inactivity\n"
                 "  -m, --ondemand\t\tforget the key then instead, and ask again (--extpass)\n"
                 "  --delaymount\t\twith that: ask when it is used for the first time\n"
                 "  -u, --unmount\t\tunmount mountPoint\n"
                 "  --standard, --paranoia\tmake a new volume without questions\n"
                 "  --reverse, --reversewrite\tthe encrypted view of a plain directory\n"
                 "  --anykey, --forcedecode, --require-macs, --public\n\n"
                 "For more information, see the man page encfs(1)\n\n",
                 EXTENCFS_VERSION);
    return kFailed;
}

int fuse_help() {
    std::fprintf(stderr,
                 "encfs [options] rootDir mountPoint -- [FUSE Mount Options]\n"
                 "valid FUSE Mount Options follow:\n\n"
                 "    -o ro, rw, allow_other, suid, dev, noexec, noatime, nonempty, fsname=NAME,\n"
                 "       subtype=NAME, noxattr; what else FUSE 2 knew is passed over\n");
    return 0;
}

constexpr const char* kPlainData = "Configuration use plainData but you did not use --insecure";

int tell_failure(const daemon::Failure& failure) {
    if (failure.sentence == kPlainData) {
        std::printf("%s\n", kPlainData);
        return kFailed;
    }
    if (failure.kind == FailureKind::kWrongPassword) {
        // Where front ends look for it.
        std::printf("Error decoding volume key, password incorrect\n");
    } else if (failure.sentence.starts_with("fatal: ")) {
        std::fprintf(stderr, "%s\n", failure.sentence.c_str());
    } else {
        std::fprintf(stderr, "encfs: %s\n", daemon::printable(failure.sentence).c_str());
    }
    return kFailed;
}

bool is_directory(const std::string& path) {
    struct stat is {};
    return ::stat(path.c_str(), &is) == 0 && S_ISDIR(is.st_mode);
}

// A dead mount is no directory that can be looked at; what is wrong with it is told later.
bool exists(const std::string& path) {
    struct stat is {};
    return ::lstat(path.c_str(), &is) == 0 || errno != ENOENT;
}

// Asks whether a directory that is missing should be made.
bool have_directory(const std::string& path, const char* annotation) {
    if (is_directory(path) || exists(path)) return true;
    std::fprintf(stderr, "The directory \"%s/\" does not exist. Should it be created? (y,N) ",
                 path.c_str());
    if (annotation != nullptr) std::fprintf(stderr, "\n$PROMPT$ %s\n", annotation);
    std::string line;
    (void)read_stdin_line(line);
    if ((line.starts_with('y') || line.starts_with('Y')) && ::mkdir(path.c_str(), 0700) == 0)
        return true;
    std::fprintf(stderr, "Directory not created.\n");
    return false;
}

std::string absolute(const std::string& path) {
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                           &std::free);
    return real ? std::string(real.get()) : path;
}

Outcome<crypto::SecretBytes> password_for(const EncfsOptions& options, bool is_new) {
    if (options.annotate) std::fprintf(stderr, "$PROMPT$ %s\n", is_new ? "new_passwd" : "passwd");
    if (!options.program.empty()) return encfs_program_password(options.program, options.root_dir);
    if (options.from_stdin) return encfs_stdin_password();
    return is_new ? encfs_prompt_new_password() : encfs_prompt_password();
}

// Where a configuration is wanted that is not in the volume's directory; empty: nowhere else.
std::string named_config(const EncfsOptions& options) {
    if (!options.config_file.empty()) return options.config_file;
    const char* variable = std::getenv("ENCFS6_CONFIG");
    return variable != nullptr ? variable : "";
}

Outcome<bool> has_volume(const daemon::VolumeOnDisk& disk, const EncfsOptions& options) {
    const std::string named = named_config(options);
    if (!named.empty()) return exists(named);
    lower::LowerFs& fs = disk.fs();
    if (fs.stat_at(disk.root_fd(), volume::kConfigName) ||
        fs.stat_at(disk.root_fd(), volume::kConfigBackupName))
        return true;
    const auto config = daemon::read_legacy_config(fs, disk.root_fd(), "");
    if (!config) return std::unexpected(config.error());
    return config->has_value();
}

// Makes a volume where there is none. Returns its key, or none where one was there.
Outcome<std::optional<crypto::SecretBytes>> create_if_missing(const EncfsOptions& options) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, options.root_dir);
    if (!disk) return std::unexpected(disk.error());
    if (auto whole = disk->check_not_migrating(); !whole) return std::unexpected(whole.error());
    const auto there = has_volume(*disk, options);
    if (!there) return std::unexpected(there.error());
    if (*there) {
        // Whoever can change the configuration could have files written in plain.
        const auto config = daemon::read_legacy_config(*fs, disk->root_fd(), options.config_file);
        if (config && *config && (*config)->config.plain_data && !options.insecure)
            return daemon::fail(FailureKind::kUnsupported, kPlainData);
        return std::nullopt;
    }
    if (auto hardened = daemon::harden_process(); !hardened)
        return std::unexpected(hardened.error());
    auto chosen = choose_encfs_volume(options);
    if (!chosen) return std::unexpected(chosen.error());
    const auto password = password_for(options, true);
    if (!password) return std::unexpected(password.error());
    auto made = daemon::new_legacy_volume(std::move(*chosen), password->bytes());
    if (!made) return std::unexpected(made.error());
    made->config.path = named_config(options);
    if (auto written = daemon::write_legacy_config(*fs, disk->root_fd(), made->config); !written)
        return std::unexpected(written.error());
    return std::move(made->secret);
}

Outcome<void> serve(const EncfsOptions& options, const daemon::Ready& ready) {
    const auto request = encfs_request(options);
    const Use use = request.mount.read_only ? Use::kRead : Use::kWrite;
    if (auto usable = check_migration(request.cipher_dir, request.legacy, use); !usable)
        return usable;
    auto made = create_if_missing(options);
    if (!made) return std::unexpected(made.error());
    if (request.delay_password) made->reset();  // asked for when it is wanted
    const daemon::MountDialogue dialogue{
        .read_password = [&options](const volume::Config*) -> Outcome<daemon::Credential> {
            return password_for(options, false);
        },
        .waiting = [](const std::string&) { return std::shared_ptr<void>(); },
        .made_key = [&made] { return std::exchange(*made, std::nullopt); }};
    const auto done = daemon::serve_mount(request, dialogue, [&] {
        if (options.annotate) std::fprintf(stderr, "$STATUS$ fuse_main_start\n");
        ready();
    });
    if (done && options.annotate) std::fprintf(stderr, "$STATUS$ fuse_main_end\n");
    return done;
}

int mount(EncfsOptions options) {
    if (!have_directory(options.root_dir, options.annotate ? "create_root_dir" : nullptr))
        return usage("Unable to locate root directory, aborting.");
    if (!have_directory(options.mountpoint, options.annotate ? "create_mount_point" : nullptr))
        return usage("Unable to locate mount point, aborting.");
    options.root_dir = absolute(options.root_dir);
    if (!options.config_file.empty()) options.config_file = absolute(options.config_file);
    const daemon::Service service = [&options](const daemon::Ready& ready) {
        const auto done = serve(options, ready);
        std::fflush(stdout);
        return done;
    };
    const bool foreground = options.foreground || options.debug;
    const auto done = foreground ? service([] {}) : daemon::run_in_background(service);
    return done ? 0 : tell_failure(done.error());
}

// Detaches the mount, whoever serves it; as with EncFS, that nothing was mounted is no failure.
int unmount(const std::string& mountpoint) {
    std::printf("Filesystem unmounting: %s\n", mountpoint.c_str());
    std::fflush(stdout);
    const auto where = daemon::resolve_mountpoint(mountpoint);
    const auto done = where ? daemon::unmount_path(*where, daemon::Detach::kLazily)
                            : Outcome<void>(std::unexpected(where.error()));
    if (!done) std::fprintf(stderr, "encfs: %s\n", done.error().sentence.c_str());
    return 0;
}

}  // namespace

int run_encfs(int argc, char** argv) {
    if (argc <= 1) return usage("");
    auto options = parse_encfs_options(argc, argv);
    if (!options) return usage(options.error());
    if (options->version) {
        std::fprintf(stderr, "encfs version 1.9.5\n(extencfs %s)\n", EXTENCFS_VERSION);
        return 0;
    }
    if (options->fuse_help) return fuse_help();
    if (options->unmount) return unmount(options->mountpoint);
    return mount(std::move(*options));
}

}  // namespace extencfs::tools
