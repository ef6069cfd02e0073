// SPDX-License-Identifier: Apache-2.0
#include <memory>
#include <utility>

#include "tools/advice.h"
#include "tools/check_report.h"
#include "tools/check_volume.h"
#include "tools/command.h"
#include "tools/confirm.h"
#include "tools/key_source.h"
#include "tools/option_checks.h"
#include "tools/progress.h"
#include "tools/token_source.h"

namespace extencfs::tools {
namespace {

using daemon::Outcome;

struct CheckOptions {
    UnlockOptions unlock;
    daemon::LegacyChoices legacy;
    std::string directory;
    std::vector<std::string> moved_to;
    bool json = false;
    bool plain = false;
    bool repair = false;
    bool yes = false;
};

// A mend may show what is half renamed further below: more rounds than that are no mends.
constexpr int kMostRounds = 8;

std::string journals(std::size_t count) {
    return count == 1 ? "1 change that was cut short"
                      : std::to_string(count) + " changes that were cut short";
}

class CheckRun {
  public:
    CheckRun(const CheckOptions& options, CheckedVolume& volume)
        : options_(options), volume_(volume) {
        report_.path = options.directory;
        report_.encfs = volume.is_encfs();
        report_.checksums = volume.has_checksums();
        report_.plain = options.plain;
        report_.repaired = options.repair;
    }

    Outcome<ExitCode> run() {
        if (options_.repair) {
            const auto repaired = repair();
            if (!repaired) return std::unexpected(repaired.error());
            if (!*repaired) return kExitOther;  // a person said no
        }
        if (auto looked = look(); !looked) return std::unexpected(looked.error());
        options_.json ? print_json(report_) : print_text(report_);
        if (!options_.json) give_hints();
        return report_.damaged() == 0 ? kExitOk : kExitDamage;
    }

  private:
    Outcome<bool> agreed(const std::string& question) const {
        return options_.yes ? Outcome<bool>(true) : confirm(question);
    }

    Outcome<std::vector<core::HalfRenamed>> half_renamed() {
        const Progress shown("Looking at names");
        return volume_.half_renamed(options_.moved_to);
    }

    // False: a person said no.
    Outcome<bool> repair() {
        if (const auto pending = volume_.pending(); !pending.empty()) {
            const auto yes = agreed("Finish or take back " + journals(pending.size()) + "?");
            if (!yes || !*yes) return yes;
            if (auto done = volume_.finish_pending(); !done) return std::unexpected(done.error());
            report_.journals = pending.size();
        }
        for (int round = 0; round < kMostRounds; ++round) {
            auto half = half_renamed();
            if (!half) return std::unexpected(half.error());
            std::erase_if(*half, [](const auto& one) { return one.plan.steps.empty(); });
            if (half->empty()) break;
            std::uint64_t names = 0, headers = 0;
            for (const auto& one : *half) {
                names += one.wrong.size();
                headers += one.headers;
            }
            const auto yes = agreed(
                "Rename " + std::to_string(names) + " names and write " + std::to_string(headers) +
                " headers again, so that they fit where they lie, in " + options_.directory + "?");
            if (!yes || !*yes) return yes;
            for (const auto& one : *half) {
                if (auto done = volume_.mend(one); !done) return std::unexpected(done.error());
                report_.names += one.wrong.size();
                report_.headers += one.headers;
            }
        }
        return true;
    }

    Outcome<void> look() {
        auto half = half_renamed();
        if (!half) return std::unexpected(half.error());
        report_.half = std::move(*half);
        for (const std::string& name : volume_.pending()) {
            report_.findings.push_back(
                {core::FindingKind::kJournal, name, name,
                 "a change was cut short; --repair or the next mount finishes it"});
        }
        const Progress shown("Reading everything");
        const auto counts = volume_.check(report_.half, [this](const core::Finding& finding) {
            report_.findings.push_back(finding);
        });
        if (!counts) return std::unexpected(counts.error());
        report_.counts = *counts;
        return {};
    }

    void give_hints() const {
        if (volume_.in_use())
            tell_notice("the volume is mounted: what changed meanwhile may look damaged");
        if (!report_.checksums) {
            tell_notice(
                "the volume keeps no block checksums: damage of contents does not show; "
                "'extencfs migrate' makes a volume that has them");
        }
        bool names = false;
        for (const auto& finding : report_.findings)
            names = names || finding.kind == core::FindingKind::kName;
        if (names && report_.encfs) {
            tell_notice(
                "a name that does not decode may have been encoded for another path: if the "
                "rename of a directory was cut short, give the path that it was to get with "
                "--moved-to");
        }
    }

    const CheckOptions& options_;
    CheckedVolume& volume_;
    CheckReport report_;
};

ExitCode run(const CheckOptions& options) {
    auto volume = CheckedVolume::open(
        options.directory, options.legacy, options.repair ? CheckMode::kRepair : CheckMode::kLook,
        [&options](const volume::Config* config) {
            return find_credential(options.unlock, config, options.directory);
        });
    if (!volume)
        return tell_unopened(volume.error(), options.unlock, options.directory, Takes::kBothKinds);
    const auto done = CheckRun(options, **volume).run();
    return done ? *done : tell(done.error());
}

}  // namespace

void add_check(CLI::App& root, int& exit_code) {
    auto options = std::make_shared<CheckOptions>();
    auto* command = root.add_subcommand(
        "check", "Read everything in a volume and tell what is damaged, without mounting it");
    add_unlock_options(*command, options->unlock);
    add_slot_option(*command, options->unlock);
    add_token_option(*command, options->unlock);
    command
        ->add_option("-c,--config", options->legacy.config_file,
                     "Of an EncFS volume: its configuration, where it is not in CIPHERDIR")
        ->check(not_empty)
        ->type_name("FILE");
    command->add_flag("--json", options->json, "Print JSON (keys: see CLI_ABI.md)");
    command->add_flag("--plain", options->plain,
                      "Tell paths in plain too; without it lower names only");
    auto* repair = command->add_flag(
        "--repair", options->repair,
        "Of an EncFS volume that is not mounted: finish what was cut short, renames of "
        "directories too; nothing is deleted");
    command->add_flag("--yes", options->yes, "Do not ask")->needs(repair);
    command
        ->add_option("--moved-to", options->moved_to,
                     "A path in the volume that a directory was to get when its rename was cut "
                     "short; may be repeated")
        ->type_name("PATH")
        ->allow_extra_args(false);
    command->add_option("CIPHERDIR", options->directory, "The volume")->required();
    command->footer("Example:\n  extencfs check ~/.vault");
    command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace extencfs::tools
