// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/legacy_source.h"

#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "encfs/core/legacy_move.h"
#include "encfs/core/legacy_tail.h"
#include "encfs/core/volume_check.h"
#include "encfs/daemon/log.h"

namespace extencfs::daemon {

// A lock on the directory itself, so that nothing is left in a volume that EncFS will use again.
// EncFS takes none, so that it is not noticed.
Outcome<void> LegacySource::reserve(bool read_only, bool& shared) {
    read_only_ = read_only;
    // A plain directory is its owner's, who goes on changing it.
    if (choices_.reverse) {
        shared = true;
        return {};
    }
    const int kind = read_only ? LOCK_SH : LOCK_EX;
    // Scripts for EncFS mount again at once, while the daemon of a detached mount still ends.
    constexpr int kTries = 100;
    constexpr std::chrono::milliseconds kPause(20);
    for (int i = 0; i < kTries; ++i) {
        if (::flock(disk_.root_fd(), kind | LOCK_NB) == 0) return {};
        if (errno != EWOULDBLOCK || read_only) break;
        if (i + 1 < kTries) std::this_thread::sleep_for(kPause);
        errno = EWOULDBLOCK;
    }
    if (errno != EWOULDBLOCK) {
        lock_enforced_ = false;
        return {};
    }
    if (read_only) {
        shared = true;
        return {};
    }
    return fail(FailureKind::kLocked, disk_.path(),
                " is in use by another mount; unmount that, or mount it read-only with --ro");
}

Outcome<void> LegacySource::unlock(const volume::OpeningSecret& secret) {
    if (secret.kind != volume::SlotKind::kPassword || secret.slot) {
        return fail(FailureKind::kKeySlot, disk_.path(),
                    " is a volume of EncFS, which has one password and no other keys; give that");
    }
    auto volume = unlock_legacy(config_, secret.bytes, choices_);
    if (!volume) return std::unexpected(volume.error());
    volume_ = std::move(*volume);
    return {};
}

Outcome<void> LegacySource::unlock_by_key(Bytes key) {
    auto volume = legacy_volume_with(config_, key, choices_);
    if (!volume) return std::unexpected(volume.error());
    volume_ = std::move(*volume);
    return {};
}

Outcome<ByteVector> LegacySource::key_mark() const {
    const auto mac = volume_->key->mac64(bytes_of("extencfs: the same key"));
    if (!mac) return fail(FailureKind::kOther, "the volume's cipher cannot be used; try again");
    ByteVector mark(sizeof *mac);
    std::memcpy(mark.data(), &*mac, mark.size());
    return mark;
}

void LegacySource::mend(Log& log) {
    if (!lock_enforced_) {
        log.write(LogLevel::kWarning, "lock",
                  "the file system below has no locks: do not mount this volume twice");
    }
    for (const char* journal : {core::kMoveJournal, core::kTailJournal}) {
        const auto is = disk_.fs().stat_at(disk_.root_fd(), journal);
        if (!read_only_ || choices_.reverse || !is || is->st_size == 0) continue;
        log.write(LogLevel::kWarning, "recovery",
                  "a change was cut short ({}), so that some files may not be shown; mount the "
                  "volume once without --ro to mend it",
                  journal);
    }
    if (choices_.reverse) return;
    if (config_.config.format == legacy::ConfigFormat::kV7) {
        log.write(LogLevel::kWarning, "v7", "{}", why_read_only());
        const auto& v7 = config_.config.v7;
        if (!v7.hash.empty() && std::ranges::find(v7.hashes, v7.hash) == v7.hashes.end()) {
            log.write(LogLevel::kWarning, "v7",
                      "the settings in {} are not what its key was sealed with, as far as is known "
                      "here; compare them with a backup",
                      config_.name);
        }
    }
    // On demand the keys may come later.
    if (volume_) count_names(log);
}

// A look, not a search: it must not keep a mount waiting.
void LegacySource::count_names(Log& log) {
    constexpr std::uint64_t kMostNames = 20'000;
    constexpr std::chrono::milliseconds kLongest(300);
    // What a move left half done does not count: it is put right when the volume is mounted.
    if (disk_.fs().stat_at(disk_.root_fd(), core::kMoveJournal)) return;
    const auto end = std::chrono::steady_clock::now() + kLongest;
    const auto format = core::legacy_format(*volume_)({.read_only = true});
    const auto count =
        core::count_undecodable(disk_.fs(), disk_.root_fd(), *format, kMostNames,
                                [end] { return std::chrono::steady_clock::now() >= end; });
    if (count.undecodable == 0) return;
    log.write(LogLevel::kWarning, "names",
              "{}{} below {} not decode and {} not shown; 'extencfs check {}' tells which",
              count.all ? "" : "at least ",
              count.undecodable == 1 ? "1 name" : fmt::format("{} names", count.undecodable),
              count.undecodable == 1 ? "does" : "do", count.undecodable == 1 ? "is" : "are",
              disk_.path());
}

std::string LegacySource::why_read_only() const {
    if (choices_.reverse &&
        (!choices_.reverse_write || !core::can_reverse_write(config_.parameters)))
        return "a reverse view has nothing of its own";
    if (config_.config.format == legacy::ConfigFormat::kV7)
        return "volumes of EncFS 2 are mounted read-only: nothing proves yet that EncFS 2 would "
               "read what is written here";
    return {};
}

Outcome<core::FormatMaker> LegacySource::format() {
    // Nothing of the keys stays here.
    core::LegacyVolume volume = std::move(*volume_);
    volume_.reset();
    if (!choices_.reverse) return core::legacy_format(std::move(volume));
    const auto config = disk_.fs().stat_at(disk_.root_fd(), core::kShownConfig);
    const bool readable_only = read_only_ || !why_read_only().empty();
    return core::legacy_reverse(
        std::move(volume), config ? config->st_ino : 0,
        readable_only ? core::ReverseFile::Access::kRead : core::ReverseFile::Access::kWrite);
}

Outcome<std::unique_ptr<VolumeSource>> LegacySource::open(VolumeOnDisk disk, LegacyConfig config,
                                                          const LegacyChoices& choices) {
    const legacy::ContentLayout& contents = config.parameters.contents;
    const bool checked = contents.mac_size > 0 || contents.seal != legacy::Seal::kNone;
    if (choices.require_macs && !checked) {
        return fail(FailureKind::kUnsupported,
                    "the volume keeps no block checksums and --require-macs demands them; mount it "
                    "without that option");
    }
    if (choices.reverse && config.config.format == legacy::ConfigFormat::kV7) {
        return fail(FailureKind::kUnsupported,
                    "no reverse view can be had with the settings of EncFS 2; make others with "
                    "'encfs --reverse'");
    }
    if (choices.reverse && !core::can_reverse(config.parameters)) {
        return fail(FailureKind::kUnsupported, "the settings in ", config.name,
                    " do not allow for a reverse view (chained names or checksums); make others "
                    "with 'encfs --reverse'");
    }
    return std::make_unique<LegacySource>(std::move(disk), std::move(config), choices);
}

}  // namespace extencfs::daemon
