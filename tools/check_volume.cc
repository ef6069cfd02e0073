// SPDX-License-Identifier: Apache-2.0
#include "tools/check_volume.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <set>

#include "encfs/core/legacy_move.h"
#include "encfs/core/legacy_tail.h"
#include "encfs/daemon/hardening.h"
#include "tools/migration_check.h"

namespace extencfs::tools {
namespace {

using daemon::FailureKind;
using daemon::Outcome;

std::unexpected<daemon::Failure> stopped(const core::Error& error) {
    return daemon::fail(FailureKind::kOther, "the volume cannot be worked on (",
                        daemon::errno_text(core::errno_of(error)),
                        "); check the disk below, and run it again: it goes on");
}

}  // namespace

Outcome<void> CheckedVolume::may_repair(const std::string& directory) const {
    if (!source_->is_encfs()) {
        return daemon::fail(FailureKind::kUnsupported, directory,
                            " needs no repair of this kind: mounting it finishes what was cut "
                            "short, and damage is put right from a backup; check it without "
                            "--repair");
    }
    if (const std::string why = source_->why_read_only(); !why.empty()) {
        return daemon::fail(FailureKind::kUnsupported, directory, " is never written (", why,
                            "); check it without --repair");
    }
    const auto file_system = lower_->statvfs(source_->root_fd());
    const bool read_only = file_system && (file_system->f_flag & ST_RDONLY) != 0;
    if (read_only || ::faccessat(source_->root_fd(), ".", W_OK | X_OK, AT_EACCESS) != 0) {
        return daemon::fail(FailureKind::kCipherDir, directory, " cannot be written (",
                            daemon::errno_text(read_only ? EROFS : errno),
                            "); check it without --repair, or change its permissions");
    }
    return {};
}

Outcome<std::unique_ptr<CheckedVolume>> CheckedVolume::open(
    const std::string& directory, const daemon::LegacyChoices& legacy, CheckMode mode,
    const std::function<Outcome<daemon::Credential>(const volume::Config*)>& read_password) {
    if (auto hardened = daemon::harden_process(); !hardened)
        return std::unexpected(hardened.error());
    const Use use = mode == CheckMode::kRepair ? Use::kWrite : Use::kRead;
    if (auto usable = check_migration(directory, legacy, use); !usable)
        return std::unexpected(usable.error());
    std::unique_ptr<CheckedVolume> volume(new CheckedVolume);
    volume->lower_ = lower::make_posix_lower_fs();
    volume->repair_ = mode == CheckMode::kRepair;
    auto source = daemon::open_volume(*volume->lower_, directory, legacy);
    if (!source) return std::unexpected(source.error());
    volume->source_ = std::move(*source);
    if (volume->repair_) {
        if (auto may = volume->may_repair(directory); !may) return std::unexpected(may.error());
    }
    auto held = volume->source_->reserve(!volume->repair_, volume->in_use_);
    if (!held) return std::unexpected(held.error());
    const auto given = read_password(volume->source_->config());
    if (!given) return std::unexpected(given.error());
    if (auto opened = volume->source_->unlock(given->view()); !opened)
        return std::unexpected(opened.error());
    if (const auto* encfs = volume->source_->encfs()) {
        volume->mend_ =
            std::make_unique<core::LegacyMend>(*volume->lower_, volume->source_->root_fd(), *encfs);
        const legacy::ContentLayout& contents = encfs->parameters.contents;
        volume->has_checksums_ =
            contents.seal != legacy::Seal::kNone || (contents.mac_size > 0 && !contents.plain);
    }
    auto maker = volume->source_->format();
    if (!maker) return std::unexpected(maker.error());
    // Read-only also to repair: a format changes nothing by itself then.
    volume->format_ =
        (*maker)({.read_only = true,
                  .on_damage = [notes = &volume->notes_](int fd, const std::string& what) {
                      notes->note(fd, what);
                  }});
    return volume;
}

// ---- looking ----

std::vector<std::string> CheckedVolume::pending() const {
    std::vector<std::string> names;
    // One who writes now has his journal there.
    if (!is_encfs() || in_use_) return names;
    for (const char* name : {core::kMoveJournal, core::kTailJournal}) {
        const auto is = lower_->stat_at(source_->root_fd(), name);
        // The one of a file's end is there, and empty, while nothing is under way.
        if (is && (is->st_size > 0 || name == std::string_view(core::kMoveJournal)))
            names.emplace_back(name);
    }
    return names;
}

Outcome<std::vector<core::HalfRenamed>> CheckedVolume::half_renamed(
    const std::vector<std::string>& hints) {
    if (!mend_ || !source_->why_read_only().empty() ||
        lower_->stat_at(source_->root_fd(), core::kMoveJournal))
        return std::vector<core::HalfRenamed>{};
    auto found = mend_->find(hints);
    if (!found) return stopped(found.error());
    return std::move(*found);
}

Outcome<core::CheckCounts> CheckedVolume::check(
    const std::vector<core::HalfRenamed>& half,
    const std::function<void(const core::Finding&)>& found) {
    std::set<std::string> misplaced;
    for (const auto& directory : half)
        misplaced.insert(directory.wrong.begin(), directory.wrong.end());
    const core::CheckHooks hooks{
        .found = found, .kind_of_name = [&](const std::string& lower, std::string_view entry) {
            if (misplaced.contains(lower)) return core::FindingKind::kHalfRenamed;
            if (mend_ && mend_->is_spelled(entry)) return core::FindingKind::kName;
            return core::kind_of_foreign(entry);
        }};
    auto counts = core::check_volume(*lower_, source_->root_fd(), *format_, notes_, hooks);
    if (!counts) return stopped(counts.error());
    return *counts;
}

// ---- repairing ----

Outcome<void> CheckedVolume::finish_pending() {
    if (!repair_) return daemon::fail(FailureKind::kOther, "not opened to repair; report it");
    auto done = format_->recover(*lower_, source_->root_fd());
    if (!done) return stopped(done.error());
    return {};
}

Outcome<void> CheckedVolume::mend(const core::HalfRenamed& directory) {
    if (!repair_ || !mend_)
        return daemon::fail(FailureKind::kOther, "not opened to repair; report it");
    auto done = mend_->mend(directory);
    if (!done) return stopped(done.error());
    return {};
}

}  // namespace extencfs::tools
