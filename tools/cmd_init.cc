// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>

#include "encfs/daemon/hardening.h"
#include "encfs/daemon/volume_create.h"
#include "encfs/lower/lower_fs.h"
#include "tools/command.h"
#include "tools/password_source.h"
#include "tools/progress.h"
#include "tools/volume_choice.h"

namespace extencfs::tools {
namespace {

struct InitOptions {
    PasswordOptions password;
    VolumeChoice volume;
    std::string directory;
    bool quiet = false;
};

daemon::Outcome<volume::Config> make_volume(const InitOptions& options) {
    const auto fs = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*fs, options.directory);
    if (!disk) return std::unexpected(disk.error());
    auto creation = daemon::VolumeCreation::prepare(*disk);
    if (!creation) return std::unexpected(creation.error());
    const auto password = read_password(options.password, Purpose::kCreate, options.directory);
    if (!password) return std::unexpected(password.error());
    const Progress progress("Deriving the key");
    return creation->finish(new_volume(options.volume), password->bytes());
}

daemon::Outcome<volume::Config> init(const InitOptions& options) {
    if (auto hard = daemon::harden_process(); !hard) return std::unexpected(hard.error());
    const bool made = mkdir(options.directory.c_str(), 0700) == 0;
    if (!made && errno != EEXIST) {
        return daemon::fail(daemon::FailureKind::kCipherDir, options.directory, " cannot be made (",
                            daemon::errno_text(errno), "); check the path and its permissions");
    }
    auto config = make_volume(options);
    // Fails where something is in it, as it should.
    if (!config && made) rmdir(options.directory.c_str());
    return config;
}

ExitCode run(const InitOptions& options) {
    const auto config = init(options);
    if (!config) return tell(config.error());
    if (options.quiet) return kExitOk;
    std::printf(
        "Made a volume in %s (%s, names in %s).\n"
        "Nobody can recover the data without the password: keep it safe.\n"
        "Next:  extencfs mount %s MOUNTPOINT\n",
        options.directory.c_str(), cipher_name(config->content_cipher),
        config->name_encoding == volume::NameEncoding::kBase64Url ? "base64url" : "base32hex",
        options.directory.c_str());
    return kExitOk;
}

}  // namespace

void add_init(CLI::App& root, int& exit_code) {
    auto options = std::make_shared<InitOptions>();
    auto* command = root.add_subcommand("init", "Make a new volume in an empty directory");
    add_password_options(*command, options->password);
    add_volume_options(*command, options->volume);
    command->add_flag("-q,--quiet", options->quiet, "Print nothing but errors");
    command->add_option("CIPHERDIR", options->directory, "Empty directory; made if missing")
        ->required();
    command->footer("Example:\n  extencfs init --kdf sensitive ~/.vault");
    command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace extencfs::tools
