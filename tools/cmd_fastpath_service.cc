// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <memory>

#include "encfs/daemon/delegation_service.h"
#include "tools/command.h"
#include "tools/numbers.h"

namespace extencfs::tools {
namespace {

struct ServiceCommand {
    std::string group;
    std::string user_mounts, user_mb, total_mb;
};

constexpr unsigned kMostMounts = 512;
constexpr unsigned kMostMb = 65'536;

// Leaves `value` as it is where nothing is said.
std::expected<void, std::string> read_limit(const std::string& text, unsigned most,
                                            unsigned& value) {
    if (text.empty()) return {};
    const auto number = parse_number<unsigned>(text);
    if (!number || *number < 1 || *number > most)
        return std::unexpected("'" + text + "' is no number from 1 to " + std::to_string(most));
    value = *number;
    return {};
}

std::expected<daemon::DelegationOptions, std::string> to_options(const ServiceCommand& command) {
    daemon::DelegationOptions options;
    if (!command.group.empty()) {
        const auto group = parse_gid(command.group);
        if (!group) return std::unexpected("there is no group " + command.group);
        options.group = group;
    }
    daemon::DelegationLimits& limits = options.limits;
    unsigned user_mb = limits.user_bytes >> 20, total_mb = limits.total_bytes >> 20;
    for (const auto& read : {read_limit(command.user_mounts, kMostMounts, limits.user_mounts),
                             read_limit(command.user_mb, kMostMb, user_mb),
                             read_limit(command.total_mb, kMostMb, total_mb)})
        if (!read) return std::unexpected(read.error());
    limits.user_bytes = std::uint64_t{user_mb} << 20;
    limits.total_bytes = std::uint64_t{total_mb} << 20;
    return options;
}

ExitCode run(const ServiceCommand& command) {
    const auto options = to_options(command);
    if (!options) {
        std::fprintf(stderr, "extencfs: %s; see 'extencfs fastpath-service --help'\n",
                     options.error().c_str());
        return kExitUsage;
    }
    const auto done = daemon::serve_delegation(*options);
    return done ? kExitOk : tell(done.error());
}

}  // namespace

void add_fastpath_service(CLI::App& root, int& exit_code) {
    auto command = std::make_shared<ServiceCommand>();
    auto* app = root.add_subcommand(
        "fastpath-service", "Give mounts of ordinary users the kernel fast path (for root)");
    app->add_option("--group", command->group, "Only for members of this group")
        ->type_name("GROUP");
    app->add_option("--user-mounts", command->user_mounts, "Mounts for each user (16)")
        ->type_name("N");
    app->add_option("--user-mb", command->user_mb, "Memory for each user's mounts (256)")
        ->type_name("MB");
    app->add_option("--total-mb", command->total_mb, "Memory for all mounts (1024)")
        ->type_name("MB");
    app->footer(
        "Runs in the foreground until it is told to end.\nExample:\n  extencfs fastpath-service "
        "--group users");
    app->callback([command, &exit_code] { exit_code = run(*command); });
}

}  // namespace extencfs::tools
