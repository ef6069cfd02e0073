// SPDX-License-Identifier: Apache-2.0
#include "encfs/rotate/beside_mount.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "encfs/daemon/key_editor.h"
#include "encfs/rotate/attributes.h"
#include "encfs/rotate/config_step.h"
#include "encfs/rotate/symlinks.h"
#include "encfs/volume/rotation.h"

namespace extencfs::rotate {

using daemon::fail;
using daemon::FailureKind;
using daemon::Notices;
using daemon::Outcome;

namespace {

// THREADS: one at a time, as core calls it.
class Sealer final : public core::Resealing {
  public:
    // `disk` outlives this.
    static lower::Result<std::shared_ptr<core::Resealing>> make(
        const daemon::VolumeOnDisk& disk, std::shared_ptr<const volume::VolumeKeys> keys) {
        std::shared_ptr<Sealer> made(new Sealer(disk, std::move(keys)));
        auto looked = Attributes::look(made->tools_);
        if (!looked) return std::unexpected(looked.error());
        made->attributes_.emplace(std::move(*looked));
        return made;
    }

    lower::Result<Sealed> attributes(int fd, const ByteArray<16>& owner) override {
        auto done = seal_attributes({fd, owner});
        if (done) return Sealed{.damaged = *done};
        const auto failed = std::unexpected(done.error());
        if (done.error().value != EACCES) return failed;
        // An ordinary user's file that its owner may not read or write: the kernel goes by its mode
        // for user.* attributes. Nobody else changes it meanwhile (core's lock for SETATTR).
        const auto is = tools_.fs.stat(fd);
        if (!is || is->st_uid != ::geteuid()) return failed;
        const mode_t mode = is->st_mode & 07777U;
        if (auto lifted = tools_.fs.chmod(fd, mode | S_IRUSR | S_IWUSR); !lifted) return failed;
        done = seal_attributes({fd, owner});
        if (auto back = tools_.fs.chmod(fd, mode); !back) return std::unexpected(back.error());
        if (!done) return std::unexpected(done.error());
        return Sealed{.damaged = *done, .changed_mode = true};
    }

    lower::Result<bool> prepare_symlink(int dirfd, const std::string& entry,
                                        const struct stat& is) override {
        return links_.prepare(dirfd, entry, is);
    }

    lower::Result<Link> symlink(int dirfd, const std::string& entry,
                                const struct stat& is) override {
        const auto state = links_.seal(dirfd, entry, is);
        if (!state) return std::unexpected(state.error());
        switch (*state) {
            case LinkState::kNew:
                return Link::kNew;
            case LinkState::kReplaced:
                return Link::kReplaced;
            case LinkState::kDamaged:
                break;
        }
        return Link::kDamaged;
    }

    lower::Result<void> clean() override { return links_.clean(); }

  private:
    lower::Result<std::uint64_t> seal_attributes(const AttributeOwner& of) const {
        const auto older = attributes_->any_older(of);
        if (!older) return std::unexpected(older.error());
        if (!*older) return 0;
        const auto damaged = attributes_->seal(of);
        if (!damaged) return damaged;
        // Before the older forms go.
        if (auto synced = tools_.fs.fsync(of.fd); !synced) return std::unexpected(synced.error());
        if (auto dropped = attributes_->drop_kept(of); !dropped)
            return std::unexpected(dropped.error());
        if (auto left = attributes_->clean(of); !left) return left;
        return damaged;
    }

    Sealer(const daemon::VolumeOnDisk& disk, std::shared_ptr<const volume::VolumeKeys> keys)
        : keys_(std::move(keys)), tools_{disk.fs(), disk.root_fd(), *keys_}, links_(tools_) {}

    std::shared_ptr<const volume::VolumeKeys> keys_;
    Tools tools_;
    Symlinks links_;
    std::optional<Attributes> attributes_;
};

std::unexpected<daemon::Failure> lost_writes() {
    return fail(FailureKind::kOther,
                "the file system below could not write all that was sealed anew; see its log and "
                "mend it, then unmount the volume and run 'extencfs key rotate' without --online");
}

std::unexpected<daemon::Failure> stopped_at(const core::RotationRun& run,
                                            const core::Error& error) {
    const int number = core::errno_of(error);
    const std::string what = run.failed_at.empty() ? "the volume" : run.failed_at;
    if (number == ECANCELED) {
        return fail(FailureKind::kDaemonDied,
                    "the volume was unmounted before its keys were rotated; run 'extencfs key "
                    "rotate' to go on, before it can be mounted again");
    }
    if (error.kind == core::ErrorKind::kInternal) {
        return fail(FailureKind::kOther, what,
                    " is still under the old key; run the same again, and please report it");
    }
    if (error.kind == core::ErrorKind::kDamaged) {
        return fail(FailureKind::kDamage, what,
                    " is not where it belongs, or damaged; bring it back and run the same again, "
                    "or give --leave-damaged to give it up");
    }
    if (number == EEXIST) {
        return fail(
            FailureKind::kDamage, what,
            " stands for a name that is there twice; move one of them out of the volume and "
            "run the same again");
    }
    const bool full = number == ENOSPC || number == EDQUOT;
    return fail(FailureKind::kOther, what, " cannot be sealed anew (", daemon::errno_text(number),
                "); ", full ? "make room below" : "mend that", " and run the same again");
}

}  // namespace

Outcome<std::uint32_t> BesideMount::unlock(const volume::OpeningSecret& secret) {
    if (!rotation_.is_possible()) {
        return fail(
            FailureKind::kUnsupported,
            "the keys of a volume can be rotated only where it is mounted for writing and is "
            "no EncFS volume; unmount it and run it without --online");
    }
    auto copies = disk_.read_config();
    if (!copies) return std::unexpected(copies.error());
    auto unlocked = daemon::VolumeOnDisk::unlock(*copies, secret, daemon::InRotation::kAllowed);
    if (!unlocked) return std::unexpected(unlocked.error());
    unlocked_ = std::move(*unlocked);
    return unlocked_->slot;
}

bool BesideMount::was_begun() const {
    return volume::is_rotating(config());
}

Outcome<Amount> BesideMount::survey(core::RotationRun& run) {
    if (auto seen = rotation_.survey(run); !seen) return stopped_at(run, seen.error());
    return Amount{run.things, run.bytes};
}

Outcome<void> BesideMount::give_keys() {
    auto derived = keys_of(*unlocked_);
    if (!derived) return std::unexpected(derived.error());
    const std::shared_ptr<const volume::VolumeKeys> shared = std::move(*derived);
    // It looks what is kept in the root.
    const auto given = rotation_.begin(shared, [&] { return Sealer::make(disk_, shared); });
    if (!given) {
        return fail(FailureKind::kOther, "the mount cannot take the new keys (",
                    daemon::errno_text(core::errno_of(given.error())), "); run the same again");
    }
    return {};
}

Outcome<Notices> BesideMount::begin(const volume::OpeningSecret& secret,
                                    const std::optional<MoreSlot>& more) {
    auto begun = begun_config(*unlocked_, secret, more);
    if (!begun) return std::unexpected(begun.error());
    // Headers that are read are durable then; and times of an older rotation are no concern of
    // ours.
    if (auto synced = rotation_.watch_storage(); !synced) {
        return cannot("", "synced", lower::Errno{core::errno_of(synced.error())});
    }
    rotation_.change_root([this] { (void)Journal::remove(disk_.fs(), disk_.root_fd()); });
    const volume::OpeningSecret same(secret.kind, secret.bytes, unlocked_->slot);
    auto written = put_config(disk_, *unlocked_, begun->config, begun->volume_key, same,
                              [this](const auto& write) { rotation_.change_root(write); });
    if (!was_begun()) return written;  // which failed
    unlocked_->volume_key = std::move(begun->volume_key);
    if (!written) return written;
    // From here on nothing but a rotation opens the volume.
    if (auto given = give_keys(); !given) return std::unexpected(given.error());
    return written;
}

Outcome<void> BesideMount::resume() {
    if (rotation_.has_lost_writes()) return lost_writes();
    Outcome<std::vector<std::string>> mended;
    rotation_.change_root([&] { mended = disk_.repair_config(unlocked_->text); });
    if (!mended) return std::unexpected(mended.error());
    return give_keys();
}

Outcome<Notices> BesideMount::run(core::RotationRun& run) {
    if (auto done = rotation_.run(run); !done) {
        return rotation_.has_lost_writes() ? lost_writes() : stopped_at(run, done.error());
    }
    const auto ended = volume::end_rotation(unlocked_->config);
    if (!ended) return std::unexpected(daemon::slot_failure(ended.error()));
    auto notices = put_config(disk_, *unlocked_, *ended, unlocked_->volume_key, std::nullopt,
                              [this](const auto& write) { rotation_.change_root(write); });
    // It may be in force all the same.
    if (!notices && is_half_way()) return notices;
    auto derived = keys_of(*unlocked_);
    if (!derived) return std::unexpected(derived.error());
    rotation_.end(std::shared_ptr<const volume::VolumeKeys>(std::move(*derived)));
    unlocked_.reset();
    return notices;
}

}  // namespace extencfs::rotate
