// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/on_demand.h"

#include <sys/stat.h>

#include <cerrno>

namespace extencfs::daemon {

// ---- the keys ----

Outcome<void> KeyRing::remember(const VolumeSource& unlocked) {
    auto mark = unlocked.key_mark();
    if (!mark) return std::unexpected(mark.error());
    if (!mark_.empty() && *mark != mark_) {
        return fail(FailureKind::kDamage, path_,
                    " has another key than the one that it was mounted with; mount it again");
    }
    mark_ = std::move(*mark);
    return {};
}

Outcome<Credential> KeyRing::ask() {
    // The daemon has none, for modes come whole from the kernel. Nobody makes a file meanwhile.
    const mode_t own = ::umask(umask_);
    auto given = read_password_();
    ::umask(own);
    return given;
}

Outcome<core::FormatMaker> KeyRing::open(int root_fd) {
    const auto volume = open_volume(lower_, path_, legacy_);
    if (!volume) return std::unexpected(volume.error());
    const auto mounted = lower_.stat(root_fd);
    const auto found = lower_.stat((*volume)->root_fd());
    if (!mounted || !found || mounted->st_ino != found->st_ino ||
        mounted->st_dev != found->st_dev || !(*volume)->can_forget_keys()) {
        return fail(FailureKind::kCipherDir, path_,
                    " is not the volume any more that is mounted; mount it again");
    }
    const auto given = ask();
    if (!given) return std::unexpected(given.error());
    if (auto opened = (*volume)->unlock(given->view()); !opened)
        return std::unexpected(opened.error());
    if (auto same = remember(**volume); !same) return std::unexpected(same.error());
    return (*volume)->format();
}

// ---- the gate ----

void OnDemand::serve(core::Filesystem& fs, int root_fd, bool has_keys) {
    fs_ = &fs;
    root_fd_ = root_fd;
    has_keys_ = has_keys;
}

int OnDemand::enter(Needs needs) {
    if (needs == Needs::kKeys) ++uses_;
    for (;;) {
        passage_.lock_shared();  // lint-allow(unlock-by-hand): leave() does
        if (needs == Needs::kNothing || has_keys_) return 0;
        leave();
        if (const int error = ask(); error != 0) return error;
    }
}

void OnDemand::leave() {
    passage_.unlock_shared();  // lint-allow(unlock-by-hand): enter() locked it
}

int OnDemand::ask() {
    const std::uint64_t failures = failures_;
    const std::lock_guard one(asking_);
    if (has_keys_) return 0;
    // Whoever waited while somebody else asked is not a reason to ask again.
    if (failures != failures_) return EACCES;
    const auto refused = [this](const std::string& why) {
        log_.write(LogLevel::kWarning, "keys", "the volume stays locked: {}", why);
        ++failures_;
        return EACCES;
    };
    auto maker = keys_.open(root_fd_);
    if (!maker) return refused(maker.error().sentence);
    const std::lock_guard alone(passage_);
    if (auto taken = fs_->take_keys(std::move(*maker)); !taken)
        return refused(errno_text(core::errno_of(taken.error())));
    has_keys_ = true;
    log_.write(LogLevel::kInfo, "keys", "the volume is open again");
    return 0;
}

bool OnDemand::forget() {
    const std::lock_guard alone(passage_);
    if (!has_keys_ || files_ != 0 || !fs_->forget_keys()) return false;
    has_keys_ = false;
    log_.write(LogLevel::kInfo, "keys", "nobody used the volume: its keys are forgotten");
    return true;
}

}  // namespace extencfs::daemon
