// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>

#include "encfs/daemon/hardening.h"
#include "encfs/migrate/places.h"
#include "encfs/migrate/verify.h"
#include "encfs/migrate/volumes.h"
#include "tools/advice.h"
#include "tools/command.h"
#include "tools/confirm.h"
#include "tools/key_source.h"
#include "tools/migrate_in_place.h"
#include "tools/migrate_options.h"
#include "tools/migrate_report.h"
#include "tools/option_checks.h"
#include "tools/progress.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;

ExitCode wrong(const std::string& what) {
    std::fprintf(stderr, "extencfs: %s; see 'extencfs migrate --help'\n", what.c_str());
    return kExitUsage;
}

class Migrate {
  public:
    explicit Migrate(const MigrateOptions& options)
        : options_(options),
          jobs_(options.jobs != 0 ? options.jobs
                                  : std::max(1U, std::thread::hardware_concurrency())),
          lower_(lower::make_posix_lower_fs()) {}

    Outcome<ExitCode> run() {
        auto hard = daemon::harden_process();
        if (!hard) return std::unexpected(hard.error());
        // Two file systems share them.
        descriptors_ = std::clamp<std::uint64_t>(hard->descriptors / 4, 64, 4096);
        if (auto opened = open_old(); !opened) return std::unexpected(opened.error());
        auto surveyed = look();
        if (!surveyed) return std::unexpected(surveyed.error());
        if (options_.dry_run) return migrate_verdict(before_.all());
        if (!options_.yes) {
            const auto agreed = confirm("Copy to " + options_.new_place() + "?");
            if (!agreed) return std::unexpected(agreed.error());
            if (!*agreed) return kExitOther;
        }
        auto made = open_new();
        if (!made) return std::unexpected(made.error());
        auto code = copy(*made, *surveyed);
        auto closed = made->close();
        if (code && !closed) return std::unexpected(closed.error());
        return code;
    }

  private:
    Outcome<void> open_old() {
        if (migrate::lie_in_each_other(options_.old_place(), options_.new_place())) {
            return fail(FailureKind::kCipherDir, options_.new_place(), " and ",
                        options_.old_place(), " lie in each other; give a directory elsewhere");
        }
        auto old = migrate::OldVolume::open(*lower_, options_.old_place());
        if (!old) return std::unexpected(old.error());
        old_ = std::move(*old);
        auto target = migrate::look_at_target(*lower_, options_.new_place());
        if (!target) return std::unexpected(target.error());
        target_ = *target;
        const bool begun = target_.target == migrate::Target::kIncomplete ||
                           target_.target == migrate::Target::kComplete;
        if (begun && target_.old_volume != old_->identity()) {
            return fail(
                FailureKind::kCipherDir, options_.new_place(),
                " was begun from another old volume, or before the password of this one was "
                "changed; give that volume, or take ",
                options_.new_place(), " away with --rollback and begin anew");
        }
        const auto given = read_credential(options_.unlock, options_.old_place());
        if (!given) return std::unexpected(given.error());
        const Progress progress("Deriving the key");
        return wanted("old volume " + options_.old_place(), "that opens it today",
                      old_->unlock(given->view(), descriptors_));
    }

    Outcome<migrate::Survey> look() {
        const auto depth = options_.dry_run ? migrate::Depth::kWhole : migrate::Depth::kSample;
        auto surveyed = [&] {
            const MigrateProgress shown(options_.style(), progress_, 0, 0);
            return migrate::survey(old_->filesystem(), old_->left_out(), depth, jobs_, before_,
                                   progress_);
        }();
        if (!surveyed) return surveyed;
        const Estimate estimate{migrate::estimate_seconds(*surveyed, jobs_),
                                migrate::free_bytes_at(options_.new_place())};
        show_survey(options_.style(), *surveyed, estimate);
        if (options_.dry_run || !options_.yes) show_problems(options_.style(), before_.all());
        const bool resumed = target_.target == migrate::Target::kIncomplete ||
                             target_.target == migrate::Target::kComplete;
        if (resumed) {
            tell_notice(options_.new_place() + " holds this migration, which goes on");
        } else if (estimate.free_bytes < surveyed->needed_bytes) {
            tell_notice("there may be too little room for the new volume");
        }
        return surveyed;
    }

    Outcome<migrate::NewVolume> open_new() {
        const std::string& place = options_.new_place();
        const bool is_free = target_.target == migrate::Target::kFree;
        // What can fail without a password fails before one is asked for.
        bool made_directory = false;
        if (is_free) {
            made_directory = mkdir(place.c_str(), 0700) == 0;
            if (!made_directory && errno != EEXIST) {
                return fail(FailureKind::kCipherDir, place, " cannot be made (",
                            daemon::errno_text(errno), "); check the path and its permissions");
            }
        }
        auto opened = make_and_open(is_free);
        // Fails where something is in it, as it should.
        if (!opened && made_directory) rmdir(place.c_str());
        return opened;
    }

    Outcome<migrate::NewVolume> make_and_open(bool is_free) {
        const std::string& place = options_.new_place();
        const auto password = read_password(options_.new_password,
                                            is_free ? Purpose::kCreate : Purpose::kOpen, place);
        if (!password) return std::unexpected(password.error());
        const Progress progress("Deriving the key");
        std::optional<crypto::Key256> key;
        if (is_free) {
            auto made = migrate::NewVolume::make(*lower_, place, new_volume(options_.volume),
                                                 password->bytes());
            if (!made) return std::unexpected(made.error());
            key = std::move(*made);
        }
        const auto secret = migrate::NewVolume::made_secret(key, password->bytes());
        return wanted(
            "new volume " + place, "that it got when this migration was begun",
            migrate::NewVolume::open(*lower_, place, secret, old_->identity(), descriptors_));
    }

    // Two passwords are asked for: which one was wrong, and which is right.
    template <typename T>
    static Outcome<T> wanted(const std::string& volume, const char* which, Outcome<T> opened) {
        if (opened || opened.error().kind != FailureKind::kWrongPassword) return opened;
        return fail(FailureKind::kWrongPassword, "the password of the ", volume,
                    " is wrong; give the one ", which);
    }

    Outcome<ExitCode> copy(migrate::NewVolume& made, const migrate::Survey& surveyed) {
        const migrate::Volumes volumes{old_->filesystem(), made.filesystem(), *lower_,
                                       made.root_fd(), old_->left_out()};
        migrate::Problems problems;
        Summary summary;
        const auto began = std::chrono::steady_clock::now();
        const bool whole = made.journal().is_complete() && made.journal().missing() == 0;
        if (!whole) {
            const MigrateProgress shown(options_.style(), progress_, surveyed.files,
                                        surveyed.bytes);
            const auto fresh = made.is_fresh() ? migrate::Fresh::kYes : migrate::Fresh::kNo;
            auto copied = migrate::TreeCopy(volumes, made.journal(), surveyed.links, fresh,
                                            {.jobs = jobs_}, problems, progress_)
                              .run();
            if (!copied) {
                show_problems(options_.style(), problems.all());
                return std::unexpected(copied.error());
            }
            summary.skipped = progress_.skipped;
        } else {
            summary.skipped = surveyed.files;
        }
        summary.files = surveyed.files;
        summary.bytes = surveyed.bytes;
        summary.missing = problems.count();
        if (options_.verify) {
            const MigrateProgress shown(options_.style(), progress_, surveyed.files,
                                        surveyed.bytes);
            summary.verified = true;
            summary.check = migrate::verify(volumes, surveyed.links, jobs_, problems.all(),
                                            problems, progress_);
        }
        summary.seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        show_problems(options_.style(), problems.all());
        show_summary(options_.style(), summary, options_.new_place());
        return migrate_verdict(problems.all());
    }

    const MigrateOptions& options_;
    unsigned jobs_;
    std::size_t descriptors_ = 0;
    std::unique_ptr<lower::LowerFs> lower_;
    std::optional<migrate::OldVolume> old_;
    migrate::TargetView target_;
    migrate::Problems before_;
    migrate::Progress progress_;
};

ExitCode end(const MigrateOptions& options) {
    const auto lower = lower::make_posix_lower_fs();
    const std::string& place = options.new_place();
    if (!options.yes) {
        const auto agreed =
            confirm(options.finish ? "Declare " + place + " complete? It cannot be taken back then."
                                   : "Remove " + place + " and everything in it?");
        if (!agreed) return tell(agreed.error());
        if (!*agreed) return kExitOther;
    }
    const auto done =
        options.finish ? migrate::finish(*lower, place) : migrate::roll_back(*lower, place);
    return done ? kExitOk : tell(done.error());
}

ExitCode run(const MigrateOptions& options) {
    if (!options.in_place.empty()) {
        if (!options.first.empty())
            return wrong("a migration in place takes one directory, that of --in-place");
        return run_in_place(options);
    }
    if (options.finish || options.roll_back) {
        if (options.first.empty()) return wrong("the new volume is missing");
        if (!is_in_place(options.first)) return end(options);
        MigrateOptions in_place = options;
        in_place.in_place = options.first;
        return run_in_place(in_place);
    }
    if (options.second.empty()) return wrong("an old and a new volume are wanted");
    const auto done = Migrate(options).run();
    return done ? *done : tell(advised(done.error(), options.first, Takes::kBothKinds));
}

}  // namespace

void add_migrate(CLI::App& root, int& exit_code) {
    auto options = std::make_shared<MigrateOptions>();
    auto* command = root.add_subcommand(
        "migrate",
        "Copy an EncFS volume, or another, into a new volume, or convert it in place; can be cut "
        "short");
    add_unlock_options(*command, options->unlock);
    add_slot_option(*command, options->unlock);
    options->new_password.passfile_option = "--new-passfile";
    command
        ->add_option("--new-passfile", options->new_password.passfile,
                     "Read the new volume's password from the first line of FILE")
        ->check(not_empty)
        ->type_name("FILE")
        ->group("Password");
    add_volume_options(*command, options->volume);
    command->add_flag("--dry-run", options->dry_run,
                      "Read the whole old volume, tell what is damaged, and change nothing");
    command->add_flag("--verify", options->verify, "Read everything back, and compare");
    command->add_option("--jobs", options->jobs, "Threads; default: one for each processor")
        ->check(CLI::Range(1, 256))
        ->type_name("N");
    command->add_flag("--json", options->json, "Print events, one JSON object on each line");
    command->add_flag("--yes", options->yes, "Do not ask");
    auto* finish =
        command->add_flag("--finish", options->finish, "Declare the migration into NEW complete");
    command
        ->add_flag(
            "--rollback", options->roll_back,
            "Remove NEW, which was not declared complete; OLD is as it was. In place: while no "
            "file was removed yet")
        ->excludes(finish);
    command
        ->add_option("--in-place", options->in_place,
                     "Turn the EncFS volume OLD into a new one in its own directory, file by file; "
                     "needs room for the largest file")
        ->type_name("OLD");
    command->add_option("OLD", options->first, "The volume; only read");
    command->add_option("NEW", options->second,
                        "Where the new volume is to be: empty or missing; alone for --finish and "
                        "--rollback");
    command->footer("Example:\n  extencfs migrate --verify ~/.old ~/.vault");
    command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace extencfs::tools
