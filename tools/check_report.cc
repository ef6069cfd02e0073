// SPDX-License-Identifier: Apache-2.0
#include "tools/check_report.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "encfs/daemon/log.h"

namespace extencfs::tools {
namespace {

using Json = nlohmann::ordered_json;
using core::FindingKind;

const char* name_of(FindingKind kind) {
    switch (kind) {
        case FindingKind::kName:
            return "name";
        case FindingKind::kHalfRenamed:
            return "half-renamed";
        case FindingKind::kContents:
            return "contents";
        case FindingKind::kDirectory:
            return "directory";
        case FindingKind::kSymlink:
            return "symlink";
        case FindingKind::kAttribute:
            return "attribute";
        case FindingKind::kUnreadable:
            return "unreadable";
        case FindingKind::kJournal:
            return "journal";
        case FindingKind::kConflict:
            return "conflict";
        case FindingKind::kForeign:
            return "foreign";
    }
    return "unknown";
}

std::string counted(std::uint64_t number, const std::string& one, const std::string& many = {}) {
    return std::to_string(number) + " " + (number == 1 ? one : many.empty() ? one + "s" : many);
}

Json finding_json(const core::Finding& finding, bool plain) {
    Json json{{"kind", name_of(finding.kind)},
              {"damage", core::is_damage(finding.kind)},
              {"path", finding.lower},
              {"what", finding.what}};
    if (plain) json["plain"] = finding.plain;
    return json;
}

}  // namespace

std::uint64_t CheckReport::damaged() const {
    return static_cast<std::uint64_t>(std::ranges::count_if(
        findings, [](const core::Finding& finding) { return core::is_damage(finding.kind); }));
}

void print_text(const CheckReport& report) {
    for (const core::Finding& finding : report.findings) {
        std::printf("%-12s  %s", name_of(finding.kind), daemon::printable(finding.lower).c_str());
        if (report.plain) std::printf(" (%s)", daemon::printable(finding.plain).c_str());
        std::printf(": %s\n", daemon::printable(finding.what).c_str());
    }
    for (const core::HalfRenamed& half : report.half) {
        if (!half.wrong.empty() || half.headers > 0) {
            std::printf("A rename of %s was cut short: %s and %s can be put right by --repair\n",
                        daemon::printable(report.plain ? half.plain : half.lower).c_str(),
                        counted(half.wrong.size(), "name").c_str(),
                        counted(half.headers, "header").c_str());
        }
        for (const std::string& left : half.left) {
            std::printf(
                "%s stays as it is: something else has its name, or its contents are of "
                "neither place\n",
                daemon::printable(left).c_str());
        }
    }
    if (report.repaired) {
        std::printf("Repaired: %s finished or taken back, %s and %s put right\n",
                    counted(report.journals, "change").c_str(),
                    counted(report.names, "name").c_str(),
                    counted(report.headers, "header").c_str());
    }
    const std::uint64_t damaged = report.damaged();
    std::printf("%s, %s, %s, %s looked at; %s, %s\n",
                counted(report.counts.directories, "directory", "directories").c_str(),
                counted(report.counts.files, "file").c_str(),
                counted(report.counts.symlinks, "symlink").c_str(),
                counted(report.counts.bytes, "byte").c_str(),
                damaged == 0 ? "no damage" : counted(damaged, "damaged", "damaged").c_str(),
                counted(report.findings.size() - damaged, "foreign", "foreign").c_str());
}

void print_json(const CheckReport& report) {
    Json findings = Json::array();
    for (const core::Finding& finding : report.findings)
        findings.push_back(finding_json(finding, report.plain));
    Json half = Json::array();
    for (const core::HalfRenamed& one : report.half) {
        half.push_back({{"path", report.plain ? one.plain : one.lower},
                        {"names", one.wrong.size()},
                        {"headers", one.headers},
                        {"left", one.left}});
    }
    const Json json{
        {"path", report.path},
        {"encfs", report.encfs},
        {"damaged", report.damaged()},
        {"checksums", report.checksums},
        {"directories", report.counts.directories},
        {"files", report.counts.files},
        {"symlinks", report.counts.symlinks},
        {"bytes", report.counts.bytes},
        {"findings", std::move(findings)},
        {"half_renamed", std::move(half)},
        {"repaired",
         {{"journals", report.journals}, {"names", report.names}, {"headers", report.headers}}}};
    // Names may be any bytes.
    std::printf("%s\n", json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

}  // namespace extencfs::tools
