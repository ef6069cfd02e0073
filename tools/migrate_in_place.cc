// SPDX-License-Identifier: Apache-2.0
#include "tools/migrate_in_place.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <thread>

#include "encfs/daemon/hardening.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/migrate/in_place.h"
#include "encfs/migrate/in_place_check.h"
#include "encfs/migrate/in_place_copy.h"
#include "encfs/migrate/places.h"
#include "encfs/migrate/volumes.h"
#include "encfs/volume/format.h"
#include "tools/command.h"
#include "tools/confirm.h"
#include "tools/progress.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;
using migrate::InPlaceStage;

// Beside the largest file: directories, the journal, what the file system itself wants.
constexpr std::uint64_t kLittleBytes = 4 * 1024 * 1024;

class InPlaceMigration {
  public:
    explicit InPlaceMigration(const MigrateOptions& options)
        : options_(options),
          path_(options.in_place),
          jobs_(options.jobs != 0 ? options.jobs
                                  : std::max(1U, std::thread::hardware_concurrency())),
          lower_(lower::make_posix_lower_fs()) {}

    Outcome<ExitCode> run() {
        auto hard = daemon::harden_process();
        if (!hard) return std::unexpected(hard.error());
        // Two file systems share them.
        descriptors_ = std::clamp<std::uint64_t>(hard->descriptors / 4, 64, 4096);
        auto disk = daemon::VolumeOnDisk::open(*lower_, path_);
        if (!disk) return std::unexpected(disk.error());
        disk_ = std::move(*disk);
        place_.emplace(*lower_, disk_->root_fd());
        auto view = place_->look();
        if (!view) return std::unexpected(view.error());
        view_ = *view;
        if (options_.finish || options_.roll_back) return end();
        if (view_.stage == InPlaceStage::kComplete) return tell_complete();
        if (view_.stage == InPlaceStage::kMovingUp) return go_up();
        return convert();
    }

  private:
    Outcome<ExitCode> convert() {
        if (auto opened = open_old(); !opened) return std::unexpected(opened.error());
        auto surveyed = look();
        if (!surveyed) return std::unexpected(surveyed.error());
        if (options_.dry_run) return migrate_verdict(before_.all());
        if (auto room = check_room(*surveyed); !room) return std::unexpected(room.error());
        if (!options_.yes) {
            const auto agreed =
                confirm(view_.stage == InPlaceStage::kNone
                            ? "Convert " + path_ +
                                  " in place? It cannot be taken back once files are removed."
                            : "Go on with the migration of " + path_ + "?");
            if (!agreed) return std::unexpected(agreed.error());
            if (!*agreed) return kExitOther;
        }
        return begin_and_copy(*surveyed);
    }

    Outcome<void> open_old() {
        if (view_.stage == InPlaceStage::kNone &&
            lower_->stat_at(disk_->root_fd(), volume::kConfigName)) {
            return fail(FailureKind::kCipherDir, path_,
                        " holds a volume of format 1 already; there is nothing to convert");
        }
        const std::string config = place_->config_path();
        if (config.empty()) {
            return fail(FailureKind::kCipherDir, path_,
                        " holds no EncFS volume (.encfs6.xml, .encfs5 or .encfs4); only such a one "
                        "is converted in place, check the path");
        }
        auto old = migrate::OldVolume::open_in_place(*lower_, path_, config, options_.dry_run);
        if (!old) return std::unexpected(old.error());
        old_ = std::move(*old);
        if (auto same = check_unchanged(); !same) return same;
        if (auto free = migrate::check_no_encfs(disk_->root_fd(), path_); !free) return free;
        if (auto fit = migrate::check_lower_tree(*lower_, disk_->root_fd(), path_); !fit)
            return fit;
        const auto given = read_credential(options_.unlock, path_);
        if (!given) return std::unexpected(given.error());
        const Progress progress("Deriving the key");
        return old_->unlock(given->view(), descriptors_);
    }

    // Another migration may have gone on until this one had the lock.
    Outcome<void> check_unchanged() const {
        const auto now = place_->look();
        if (!now) return std::unexpected(now.error());
        if (now->stage == view_.stage && now->old_volume == view_.old_volume) return {};
        return fail(FailureKind::kLocked, path_,
                    " was changed by another migration just now; run the same again");
    }

    Outcome<migrate::Survey> look() {
        const auto depth = options_.dry_run ? migrate::Depth::kWhole : migrate::Depth::kSample;
        auto surveyed = [&] {
            const MigrateProgress shown(options_.style(), progress_, 0, 0);
            return migrate::survey(old_->filesystem(), old_->left_out(), depth, jobs_, before_,
                                   progress_);
        }();
        if (!surveyed) return surveyed;
        migrate::Survey shown = *surveyed;
        shown.needed_bytes = needed(*surveyed);
        show_survey(options_.style(), shown,
                    {migrate::estimate_seconds(*surveyed, 1), migrate::free_bytes_at(path_)});
        if (options_.dry_run || !options_.yes) show_problems(options_.style(), before_.all());
        if (view_.stage != InPlaceStage::kNone)
            tell_notice("this is what is still in the old format; the migration goes on");
        return surveyed;
    }

    // All that is wanted at a time.
    static std::uint64_t needed(const migrate::Survey& survey) {
        constexpr std::uint64_t kDirectoryBytes = 8192;
        return survey.largest_bytes + survey.directories * kDirectoryBytes +
               records(survey) * migrate::kRecordSize + kLittleBytes;
    }
    static std::uint64_t records(const migrate::Survey& survey) {
        constexpr std::uint64_t kOthers = 1024;
        return survey.files + 2 * (survey.directories + 1) + kOthers;
    }

    Outcome<void> check_room(const migrate::Survey& survey) const {
        const std::uint64_t free = migrate::free_bytes_at(path_);
        if (free == 0 || free >= needed(survey)) return {};
        return fail(FailureKind::kOther, "there is too little room for the largest file: ",
                    words_of_bytes(static_cast<double>(needed(survey))), " are wanted, ",
                    words_of_bytes(static_cast<double>(free)),
                    " are free; nothing is lost: make room, and run the same again");
    }

    Outcome<ExitCode> begin_and_copy(const migrate::Survey& survey) {
        const bool fresh = view_.stage == InPlaceStage::kNone;
        const auto password = read_password(
            options_.new_password, fresh ? Purpose::kCreate : Purpose::kOpen, path_ + " (new)");
        if (!password) return std::unexpected(password.error());
        std::optional<crypto::Key256> key;
        if (fresh) {
            const Progress progress("Deriving the key");
            auto begun =
                place_->begin(old_->identity(), records(survey), [&](const std::string& name) {
                    auto made =
                        migrate::NewVolume::make(*lower_, path_ + "/" + name,
                                                 new_volume(options_.volume), password->bytes());
                    if (!made) return Outcome<void>(std::unexpected(made.error()));
                    key = std::move(*made);
                    return Outcome<void>();
                });
            if (!begun) return std::unexpected(begun.error());
        }
        auto journal = place_->resume(old_->identity());
        if (!journal) return std::unexpected(journal.error());
        if (!fresh) {
            if (auto room = (*journal)->make_room(records(survey)); !room)
                return std::unexpected(room.error());
        }
        auto made = [&] {
            const Progress progress("Deriving the key");
            return migrate::NewVolume::open_in_place(
                *lower_, path_ + "/" + volume::kMigrationName + "/" + migrate::kWorkVolume,
                migrate::NewVolume::made_secret(key, password->bytes()), descriptors_);
        }();
        if (!made) return std::unexpected(made.error());
        auto counts = copy(*made, **journal, survey);
        const bool in_order = old_->filesystem().finish();
        auto closed = made->close();
        if (!counts) return std::unexpected(counts.error());
        if (!closed) return std::unexpected(closed.error());
        if (!in_order)
            tell_notice("the old volume could not be synced; what is left of it is as it was");
        // While a run that is killed here would tell of them again.
        show_problems(options_.style(), problems_.all());
        if (auto r = place_->record_moving({problems_.count(), counts->keep_root_attributes}); !r)
            return std::unexpected(r.error());
        if (auto up = place_->move_up(); !up) return std::unexpected(up.error());
        show_in_place_summary(
            options_.style(),
            {*counts, options_.verify, problems_.count(), seconds_, copied_bytes_}, path_,
            config_left());
        return migrate_verdict(problems_.all());
    }

    Outcome<migrate::InPlaceCounts> copy(migrate::NewVolume& made, migrate::Journal& journal,
                                         const migrate::Survey& survey) {
        const auto began = std::chrono::steady_clock::now();
        const MigrateProgress shown(options_.style(), progress_, survey.files, survey.bytes);
        const migrate::InPlaceVolumes volumes{old_->filesystem(), made.filesystem(), *lower_,
                                              disk_->root_fd(), old_->left_out()};
        const migrate::InPlaceOptions how{
            .compare = options_.verify ? migrate::Compare::kBeforeRemoval : migrate::Compare::kNo};
        auto counts =
            migrate::InPlaceCopy(volumes, journal, survey.links, how, problems_, progress_).run();
        seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        copied_bytes_ = progress_.bytes;
        if (!counts) show_problems(options_.style(), problems_.all());
        return counts;
    }

    // What opens what is left in the old format.
    std::string config_left() const { return path_ + "/" + place_->config_path(); }

    // The same lock as for converting.
    Outcome<void> lock() {
        auto old = migrate::OldVolume::lock_in_place(*lower_, path_);
        if (!old) return std::unexpected(old.error());
        lock_ = std::move(*old);
        return check_unchanged();
    }

    Outcome<ExitCode> go_up() {
        if (options_.dry_run) {
            tell_notice("everything is converted; run it without --dry-run to put it in place");
            return kExitOk;
        }
        if (auto locked = lock(); !locked) return std::unexpected(locked.error());
        auto journal = place_->resume(view_.old_volume);
        if (!journal) return std::unexpected(journal.error());
        if (auto up = place_->move_up(); !up) return std::unexpected(up.error());
        return tell_complete();
    }

    Outcome<ExitCode> tell_complete() {
        if (auto locked = lock(); !locked) return std::unexpected(locked.error());
        if (auto settled = place_->settle(); !settled) return std::unexpected(settled.error());
        show_in_place_complete(options_.style(), view_.missing, path_, config_left());
        return view_.missing == 0 ? kExitOk : kExitDamage;
    }

    Outcome<ExitCode> end() {
        if (auto locked = lock(); !locked) return std::unexpected(locked.error());
        const bool possible = options_.finish
                                  ? view_.stage == InPlaceStage::kComplete
                                  : view_.stage == InPlaceStage::kBegun && !view_.removing;
        // What is refused need not be asked for.
        if (possible && !options_.yes) {
            const auto agreed =
                confirm(options_.finish
                            ? "Declare " + path_ + " complete, and remove the old configuration?"
                            : "Take the migration of " + path_ +
                                  " back? Nothing was removed from the old volume.");
            if (!agreed) return std::unexpected(agreed.error());
            if (!*agreed) return kExitOther;
        }
        const auto done = options_.finish ? place_->finish() : place_->roll_back();
        if (!done) return std::unexpected(done.error());
        return kExitOk;
    }

    const MigrateOptions& options_;
    const std::string& path_;
    unsigned jobs_;
    std::size_t descriptors_ = 0;
    std::unique_ptr<lower::LowerFs> lower_;
    std::optional<daemon::VolumeOnDisk> disk_;
    std::optional<migrate::InPlace> place_;
    migrate::InPlaceView view_;
    lower::Fd lock_;
    std::optional<migrate::OldVolume> old_;
    migrate::Problems before_;
    migrate::Problems problems_;
    migrate::Progress progress_;
    double seconds_ = 0;
    std::uint64_t copied_bytes_ = 0;
};

}  // namespace

bool is_in_place(const std::string& directory) {
    const auto lower = lower::make_posix_lower_fs();
    const auto disk = daemon::VolumeOnDisk::open(*lower, directory);
    return disk && (lower->stat_at(disk->root_fd(), volume::kMigrationName) ||
                    lower->stat_at(disk->root_fd(), migrate::kWorkDone));
}

ExitCode run_in_place(const MigrateOptions& options) {
    const auto done = InPlaceMigration(options).run();
    return done ? *done : tell(done.error());
}

}  // namespace extencfs::tools
