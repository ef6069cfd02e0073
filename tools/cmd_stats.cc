// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "encfs/daemon/control.h"
#include "encfs/daemon/mount_table.h"
#include "tools/command.h"

namespace extencfs::tools {
namespace {

using Json = nlohmann::ordered_json;
using daemon::FailureKind;
using daemon::Outcome;

struct StatsOptions {
    std::string mountpoint;
    bool json = false;
    bool reset = false;
};

Outcome<Json> ask(const StatsOptions& options) {
    const auto entry = daemon::find_own_mount(options.mountpoint);
    if (!entry) return std::unexpected(entry.error());
    const std::string& mountpoint = entry->mountpoint;
    // One request for both, so that nothing is counted between them and lost.
    const auto answer = daemon::control_request(mountpoint, entry->user_id.value_or(geteuid()),
                                                options.reset ? "stats reset" : "stats",
                                                daemon::Wait::kForAnswer, 30);
    if (!answer) {
        if (answer.error().kind != FailureKind::kNotMounted) {
            return std::unexpected(answer.error());
        }
        return daemon::fail(FailureKind::kControl, "the daemon of ", mountpoint,
                            " does not answer; it may have been killed, unmount and mount again");
    }
    Json stats = Json::parse(*answer, nullptr, false);
    if (!stats.is_object() || !stats.contains("requests")) {
        return daemon::fail(FailureKind::kControl, "the daemon of ", mountpoint,
                            " answered nonsense; is it of the same version?");
    }
    return stats;
}

std::string text_of_value(const Json& value) {
    return value.is_string() ? value.get<std::string>() : value.dump();
}

// Requests by number, most first; then every other member as it comes.
void print_text(const Json& stats) {
    std::vector<std::pair<std::string, unsigned long long>> requests;
    unsigned long long total = 0;
    for (const auto& [name, count] : stats.at("requests").items()) {
        if (!count.is_number_unsigned() || count.get<unsigned long long>() == 0) continue;
        requests.emplace_back(name, count.get<unsigned long long>());
        total += requests.back().second;
    }
    std::ranges::sort(requests, [](const auto& a, const auto& b) {
        return a.second != b.second ? a.second > b.second : a.first < b.first;
    });
    for (const auto& [name, value] : stats.items()) {
        if (name == "requests") continue;
        if (value.is_object()) {
            std::printf("%s\n", name.c_str());
            for (const auto& [inner, number] : value.items()) {
                std::printf("  %-20s %s\n", inner.c_str(), text_of_value(number).c_str());
            }
        } else if (value.is_array()) {
            std::string line;
            for (const auto& item : value) {
                line += (line.empty() ? "" : ", ") + text_of_value(item);
            }
            if (!line.empty()) std::printf("%-22s %s\n", name.c_str(), line.c_str());
        } else {
            std::printf("%-22s %s\n", name.c_str(), text_of_value(value).c_str());
        }
    }
    std::printf("%-22s %llu\n", "requests", total);
    for (const auto& [name, count] : requests) std::printf("  %-20s %llu\n", name.c_str(), count);
}

}  // namespace

void add_stats(CLI::App& root, int& exit_code) {
    auto options = std::make_shared<StatsOptions>();
    auto* command = root.add_subcommand(
        "stats", "Show the requests that reached the daemon, and the mode in force");
    command->add_flag("--json", options->json, "Print JSON (keys: see CLI_ABI.md)");
    command->add_flag("--reset", options->reset, "Set the counters to zero after showing them");
    command->add_option("MOUNTPOINT", options->mountpoint, "Where the volume is mounted")
        ->required();
    command->footer("Example:\n  extencfs stats --json --reset ~/vault");
    command->callback([options, &exit_code] {
        const auto stats = ask(*options);
        if (!stats) {
            exit_code = tell(stats.error());
        } else if (options->json) {
            std::printf("%s\n", stats->dump(2, ' ', false, Json::error_handler_t::replace).c_str());
        } else {
            print_text(*stats);
        }
    });
}

}  // namespace extencfs::tools
