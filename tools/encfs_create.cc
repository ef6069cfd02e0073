// SPDX-License-Identifier: Apache-2.0
#include "tools/encfs_create.h"

#include <cstdio>

#include "encfs/daemon/legacy_key.h"
#include "tools/encfs_expert.h"
#include "tools/encfs_info.h"
#include "tools/encfs_password.h"

namespace extencfs::tools {
namespace {

constexpr std::int64_t kRevision = 20100713;

enum class Choice { kStandard, kParanoia, kExpert };

Choice ask_choice(const EncfsOptions& options) {
    if (options.annotate) std::fprintf(stderr, "$PROMPT$ config_option\n");
    std::printf(
        "Please choose from one of the following options:\n"
        " enter \"x\" for expert configuration mode,\n"
        " enter \"p\" for pre-configured paranoia mode,\n"
        " anything else, or an empty line will select standard mode.\n?> ");
    std::fflush(stdout);
    std::string line;
    (void)read_stdin_line(line);
    std::printf("\n");
    if (line.starts_with('x') || line.starts_with('X')) return Choice::kExpert;
    if (line.starts_with('p') || line.starts_with('P')) return Choice::kParanoia;
    return Choice::kStandard;
}

legacy::Config standard(bool require_macs) {
    legacy::Config config;
    config.creator = std::string("extencfs ") + EXTENCFS_VERSION;
    config.sub_version = kRevision;
    config.cipher = {"ssl/aes", 3, 0, 2};
    config.naming = {"nameio/block", 4, 0, 2};
    config.key_bits = 192;
    config.block_size = 1024;
    config.unique_iv = config.chained_names = config.holes = true;
    config.mac_bytes = require_macs ? 8 : 0;
    config.kdf_ms = daemon::kLegacyKdf_ms;
    return config;
}

void show(const legacy::Config& config) {
    std::printf(
        "Configuration finished.  The filesystem to be created has\n"
        "the following properties:\n%s\n",
        encfs_properties(config).c_str());
    if (config.external_iv) {
        std::printf(
            "-------------------------- WARNING --------------------------\n"
            "The external initialization-vector chaining option has been\n"
            "enabled.  This option disables the use of hard links on the\n"
            "filesystem. Without hard links, some programs may not work.\n"
            "The programs 'mutt' and 'procmail' are known to fail.  For\n"
            "more information, please see the encfs mailing list.\n"
            "If you would like to choose another configuration setting,\n"
            "please press CTRL-C now to abort and start over.\n\n");
    }
    std::printf(
        "Now you will need to enter a password for your filesystem.\n"
        "You will need to remember this password, as there is absolutely\n"
        "no recovery mechanism.  However, the password can be changed\n"
        "later using encfsctl.\n\n");
    std::fflush(stdout);
}

}  // namespace

daemon::Outcome<legacy::Config> choose_encfs_volume(const EncfsOptions& options) {
    std::fprintf(stderr,
                 "encfs: warning: EncFS volumes are weak (changes to files can go unnoticed); "
                 "'extencfs init' makes better ones\n");
    std::printf("Creating new encrypted volume.\n");
    const Choice choice = options.standard   ? Choice::kStandard
                          : options.paranoia ? Choice::kParanoia
                                             : ask_choice(options);
    legacy::Config config = standard(options.require_macs && !options.reverse);
    if (options.reverse) config.unique_iv = config.chained_names = false;
    switch (choice) {
        case Choice::kStandard:
            std::printf("Standard configuration selected.\n\n");
            break;
        case Choice::kParanoia:
            if (options.reverse) {
                return daemon::fail(daemon::FailureKind::kUnsupported,
                                    "a reverse view cannot have the paranoia configuration; use "
                                    "--standard");
            }
            std::printf("Paranoia configuration selected.\n\n");
            config.key_bits = 256;
            config.mac_bytes = 8;
            config.external_iv = true;
            config.kdf_ms = daemon::kLegacyParanoiaKdf_ms;
            break;
        case Choice::kExpert:
            if (auto asked = ask_expert(config, {options.require_macs, options.reverse}); !asked)
                return std::unexpected(asked.error());
            std::printf("\n");
            break;
    }
    show(config);
    return config;
}

}  // namespace extencfs::tools
