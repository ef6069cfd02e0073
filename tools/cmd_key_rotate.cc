// SPDX-License-Identifier: Apache-2.0
// key rotate: a new volume key, and everything sealed under it.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <thread>

#include "encfs/daemon/hardening.h"
#include "encfs/lower/lower_fs.h"
#include "encfs/rotate/rotation.h"
#include "tools/advice.h"
#include "tools/cmd_key.h"
#include "tools/command.h"
#include "tools/confirm.h"
#include "tools/json_failure.h"
#include "tools/key_rotate_online.h"
#include "tools/key_source.h"
#include "tools/new_key.h"
#include "tools/progress.h"
#include "tools/rotate_report.h"
#include "tools/slot_label.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;

class Rotate {
  public:
    explicit Rotate(const RotateOptions& options)
        : options_(options), lower_(lower::make_posix_lower_fs()) {}

    Outcome<ExitCode> run() {
        if (auto hard = daemon::harden_process(); !hard) return std::unexpected(hard.error());
        if (auto fit = check_added(options_.directory); !fit) return std::unexpected(fit.error());
        if (options_.online) {
            const auto mount = find_mount_to_rotate(options_.directory);
            if (!mount) return std::unexpected(mount.error());
            if (*mount) {
                // It may be the mountpoint that was given.
                const std::string& source = (*mount)->source;
                if (auto fit = check_added(source.starts_with('/') ? source : options_.directory);
                    !fit) {
                    return std::unexpected(fit.error());
                }
                return rotate_in_mount(options_, **mount);
            }
        }
        auto rotation = rotate::Rotation::open(*lower_, options_.directory);
        if (!rotation && rotation.error().kind == FailureKind::kLocked) {
            return fail(FailureKind::kLocked, options_.directory,
                        " is mounted for writing, or another command changes its keys; give "
                        "--online to do it in the mount, or unmount it and run the same again");
        }
        if (!rotation) return std::unexpected(rotation.error());
        const bool resumed = rotation->was_begun();
        if (resumed && !options_.add.empty()) {
            return fail(FailureKind::kKeySlot, "a rotation of ", options_.directory,
                        " was begun already; go on with it without --add, and then run "
                        "'extencfs key add'");
        }
        const auto given = read_credential(options_.unlock, options_.directory);
        if (!given) return std::unexpected(given.error());
        const auto slot = [&] {
            const Progress progress("Deriving the key");
            return rotation->unlock(given->view());
        }();
        if (!slot) return std::unexpected(of_no_slot(slot.error(), rotation->config()));
        for (const std::string& notice : rotation->notices()) tell_notice(notice);
        const auto ready = resumed ? resume(*rotation) : begin(*rotation, given->view(), *slot);
        if (!ready) return std::unexpected(ready.error());
        if (!*ready) return kExitOther;
        return seal(*rotation);
    }

  private:
    // What cannot be done fails before everything is read, and a password asked for.
    Outcome<void> check_added(const std::string& directory) const {
        if (options_.add.empty()) return {};
        if (auto fit = check_label(options_.label); !fit) return fit;
        return check_new_key(options_.kind_to_add(), options_.fresh, directory);
    }

    // False where the person does not want it.
    Outcome<bool> resume(rotate::Rotation& rotation) {
        tell_notice("a rotation of keys was begun, and goes on");
        const RotateProgress shown(options_.style(), progress_, {});
        rotate::Damages seen;
        const auto amount = rotation.resume(seen, progress_);
        if (!amount) return std::unexpected(amount.error());
        amount_ = *amount;
        return true;
    }

    Outcome<bool> begin(rotate::Rotation& rotation, const volume::OpeningSecret& secret,
                        std::uint32_t slot) {
        rotate::Damages seen;
        const auto amount = [&] {
            const RotateProgress shown(options_.style(), progress_, {});
            return rotation.survey(seen, progress_);
        }();
        if (!amount) return std::unexpected(amount.error());
        amount_ = *amount;
        std::vector<volume::KeySlot> ending = rotation.config().slots;
        std::erase_if(ending, [slot](const volume::KeySlot& one) { return one.id == slot; });
        show_rotation(options_.style(), amount_, ending);
        if (seen.count() != 0 && !options_.leave_damaged) {
            show_damages(options_.style(), seen.all());
            return fail(FailureKind::kDamage, std::to_string(seen.count()),
                        " things open under no key, and nothing was changed; bring them back from "
                        "a backup, or give --leave-damaged to give them up");
        }
        if (!options_.yes) {
            const auto agreed = confirm("Give " + options_.directory + " a new key?");
            if (!agreed || !*agreed) return agreed;
        }
        return put_in_force(rotation, secret);
    }

    Outcome<bool> put_in_force(rotate::Rotation& rotation, const volume::OpeningSecret& secret) {
        std::optional<rotate::MoreSlot> more;
        std::string made;
        if (!options_.add.empty()) {
            auto slot = make_more_slot(options_, secret);
            if (!slot) return std::unexpected(slot.error());
            made = std::move(slot->made);
            more = std::move(slot->slot);
        }
        const Progress progress("Deriving the key");
        const auto begun = rotation.begin(secret, more);
        if (!begun) {
            // It may be in the way.
            if (!made.empty()) tell_notice(made + " was made and is left there");
            return std::unexpected(begun.error());
        }
        for (const std::string& notice : *begun) tell_notice(notice);
        return true;
    }

    Outcome<ExitCode> seal(rotate::Rotation& rotation) {
        using Clock = std::chrono::steady_clock;
        const auto began = Clock::now();
        const unsigned jobs =
            options_.jobs != 0 ? options_.jobs : std::max(1U, std::thread::hardware_concurrency());
        rotate::Damages damages;
        const auto done = [&] {
            const RotateProgress shown(options_.style(), progress_, amount_);
            return rotation.run(jobs, damages, progress_);
        }();
        show_damages(options_.style(), damages.all());
        if (!done) return std::unexpected(done.error());
        for (const std::string& notice : *done) tell_notice(notice);
        const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
        show_rotated(options_.style(), amount_, seconds, damages.count());
        return damages.count() == 0 ? kExitOk : kExitDamage;
    }

    const RotateOptions& options_;
    std::unique_ptr<lower::LowerFs> lower_;
    rotate::Progress progress_;
    rotate::Amount amount_;
};

}  // namespace

void add_key_rotate_command(CLI::App& key, int& exit_code) {
    auto options = std::make_shared<RotateOptions>();
    auto* command = key.add_subcommand(
        "rotate", "Give the volume a new inner key, and seal everything anew; can be cut short");
    add_unlock_options(*command, options->unlock);
    add_slot_option(*command, options->unlock);
    auto* add = command
                    ->add_option("--add", options->add,
                                 "Another key for afterwards: password, keyfile or recovery")
                    ->check(CLI::IsMember({"password", "keyfile", "recovery"}))
                    ->type_name("TYPE");
    command->add_option("--label", options->label, "A word for its listing; default: the type")
        ->type_name("TEXT");
    add_new_key_options(*command, options->fresh, "choose that by --add");
    // Who gives one of them and gets no key would have lost all others.
    for (const char* name :
         {"--label", "--new-passfile", "--new-keyfile", "--recovery-out", "--kdf"}) {
        command->get_option(name)->needs(add);
    }
    command->add_flag("--online", options->online,
                      "While it is mounted and in use; by one thread of the mount's daemon");
    command->add_option("--jobs", options->jobs, "Threads; default: one for each processor")
        ->check(CLI::Range(1, 256))
        ->type_name("N");
    command->add_flag("--leave-damaged", options->leave_damaged,
                      "Go on although something opens under no key; it never will");
    command->add_flag("--json", options->json, "Print events, one JSON object on each line");
    command->add_flag("--yes", options->yes, "Do not ask");
    command
        ->add_option("CIPHERDIR", options->directory,
                     "The volume; with --online also its mountpoint")
        ->required();
    command->footer("Example:\n  extencfs key rotate --add recovery ~/.vault");
    command->callback([options, &exit_code] {
        const auto done = Rotate(*options).run();
        if (done) {
            exit_code = *done;
        } else if (options->json) {
            hint_at_password(done.error(), options->unlock);
            exit_code = tell_json(advised(done.error(), options->directory, Takes::kOwnVolumes));
        } else {
            exit_code = tell_unopened(done.error(), options->unlock, options->directory,
                                      Takes::kOwnVolumes);
        }
    });
}

}  // namespace extencfs::tools
