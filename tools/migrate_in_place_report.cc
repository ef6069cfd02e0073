// SPDX-License-Identifier: Apache-2.0
// How a migration ends, and one in place in more words.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "tools/migrate_report.h"

namespace extencfs::tools {
namespace {

unsigned long long number(std::uint64_t value) {
    return value;
}

void tell_next(std::uint64_t missing, const std::string& path, const std::string& config) {
    if (missing != 0) {
        std::printf(
            "%llu things are left in the old format, in place, with their configuration:\n"
            "Look at them: extencfs mount --ro -c %s %s MOUNTPOINT\n",
            number(missing), config.c_str(), path.c_str());
    }
    std::printf(
        "Look at it:  extencfs mount --ro %s MOUNTPOINT\n"
        "Keep it:     extencfs migrate --finish %s\n",
        path.c_str(), path.c_str());
}

}  // namespace

void show_in_place_summary(Style style, const InPlaceSummary& summary, const std::string& path,
                           const std::string& config) {
    const migrate::InPlaceCounts& counts = summary.counts;
    if (style == Style::kJson) {
        const nlohmann::ordered_json event = {{"event", "done"},
                                              {"files", counts.copied_files + counts.skipped_files},
                                              {"skipped", counts.skipped_files},
                                              {"bytes", summary.bytes},
                                              {"seconds", summary.seconds},
                                              {"missing", summary.missing},
                                              {"verified", summary.verified},
                                              {"verified_files", counts.verified_files},
                                              {"verified_bytes", counts.verified_bytes},
                                              {"differences", counts.differences}};
        std::printf("%s\n", event.dump().c_str());
        return;
    }
    std::printf("Converted %llu files (%llu of them copied before), %s, in %s; %llu problems.\n",
                number(counts.copied_files + counts.skipped_files), number(counts.skipped_files),
                words_of_bytes(static_cast<double>(summary.bytes)).c_str(),
                words_of_seconds(summary.seconds).c_str(), number(summary.missing));
    if (summary.verified) {
        std::printf(
            "Verified %llu files and %llu directories, %s of contents, and attributes, before the "
            "old ones were removed: %llu differences. What earlier runs removed is not in this.\n",
            number(counts.verified_files), number(counts.verified_directories),
            words_of_bytes(static_cast<double>(counts.verified_bytes)).c_str(),
            number(counts.differences));
    } else {
        std::printf("Not verified: --verify compares each file before the old one is removed.\n");
    }
    tell_next(summary.missing, path, config);
}

void show_in_place_complete(Style style, std::uint64_t missing, const std::string& path,
                            const std::string& config) {
    if (style == Style::kJson) {
        const nlohmann::ordered_json event = {
            {"event", "done"},     {"files", 0},         {"skipped", 0},      {"bytes", 0},
            {"seconds", 0.0},      {"missing", missing}, {"verified", false}, {"verified_files", 0},
            {"verified_bytes", 0}, {"differences", 0}};
        std::printf("%s\n", event.dump().c_str());
        return;
    }
    std::printf("The migration is complete; this run converted no file.\n");
    tell_next(missing, path, config);
}

ExitCode migrate_verdict(const std::vector<migrate::Problem>& problems) {
    if (problems.empty()) return kExitOk;
    const bool damage = std::ranges::any_of(problems, [](const migrate::Problem& problem) {
        return problem.kind != migrate::ProblemKind::kAttribute;
    });
    return damage ? kExitDamage : kExitOther;
}

}  // namespace extencfs::tools
