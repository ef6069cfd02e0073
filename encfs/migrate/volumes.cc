// SPDX-License-Identifier: Apache-2.0
#include "encfs/migrate/volumes.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "encfs/daemon/log.h"
#include "encfs/daemon/volume_create.h"
#include "encfs/daemon/volume_on_disk.h"
#include "encfs/daemon/volume_state.h"
#include "encfs/volume/format.h"

namespace extencfs::migrate {
namespace {

using daemon::errno_text;
using daemon::fail;
using daemon::FailureKind;

Outcome<std::unique_ptr<core::Filesystem>> open_filesystem(daemon::VolumeSource& source,
                                                           core::Options options) {
    auto format = source.format();
    if (!format) return std::unexpected(format.error());
    lower::Fd root(fcntl(source.root_fd(), F_DUPFD_CLOEXEC, 3));
    if (!root) return fail(FailureKind::kOther, errno_text(errno), "; try again");
    options.trust_hints = source.was_clean();
    auto fs = core::Filesystem::open(lower::make_posix_lower_fs(), std::move(root),
                                     std::move(*format), std::move(options));
    if (!fs) {
        return fail(FailureKind::kOther, "the volume's root directory cannot be used (",
                    errno_text(core::errno_of(fs.error())), "); check its permissions");
    }
    return std::move(*fs);
}

daemon::Failure in_use(const std::string& path) {
    return {
        FailureKind::kLocked,
        path + " is in use by a mount or another migration; unmount it, and run the same again"};
}

Outcome<bool> is_empty(core::Filesystem& fs) {
    bool empty = true;
    const auto listed =
        fs.list(core::kRootNode, 0, core::ListMode::kNames, [&empty](const auto& entry) {
            empty = empty && (entry.name == "." || entry.name == "..");
            return empty;
        });
    if (!listed) {
        return fail(FailureKind::kOther, "the new volume cannot be listed (",
                    words_of(listed.error()), "); check its permissions");
    }
    return empty;
}

}  // namespace

Outcome<TargetView> look_at_target(lower::LowerFs& fs, const std::string& path) {
    struct stat is {};
    if (::stat(path.c_str(), &is) != 0 && errno == ENOENT) return TargetView{};
    const auto disk = daemon::VolumeOnDisk::open(fs, path);
    if (!disk) return std::unexpected(disk.error());
    auto journal = Journal::open(fs, disk->root_fd());
    if (!journal) return std::unexpected(journal.error());
    if (*journal) {
        const bool complete = (*journal)->is_complete();
        return TargetView{complete ? Target::kComplete : Target::kIncomplete,
                          (*journal)->old_volume(), complete ? (*journal)->missing() : 0};
    }
    const bool volume = fs.stat_at(disk->root_fd(), volume::kConfigName) ||
                        fs.stat_at(disk->root_fd(), volume::kConfigBackupName);
    return TargetView{volume ? Target::kVolume : Target::kFree};
}

// ---- the old one ----

Outcome<OldVolume> OldVolume::open(lower::LowerFs& fs, const std::string& path) {
    auto source = daemon::open_volume(fs, path, {});
    if (!source) return std::unexpected(source.error());
    bool shared = false;
    if (auto held = (*source)->reserve(true, shared); !held) return std::unexpected(held.error());
    if (shared) {
        return fail(FailureKind::kLocked, path,
                    " is mounted for writing; unmount it, and run the same again");
    }
    return OldVolume(std::move(*source));
}

Outcome<OldVolume> OldVolume::open_in_place(lower::LowerFs& fs, const std::string& path,
                                            const std::string& config_file, bool dry) {
    auto source =
        daemon::open_volume(fs, path, {.config_file = path + "/" + config_file, .migrating = true});
    if (!source) return std::unexpected(source.error());
    bool shared = false;
    // Also where nothing will be changed: a mount beside it would change what is looked at.
    if (auto held = (*source)->reserve(false, shared); !held) {
        if (held.error().kind != FailureKind::kLocked) return std::unexpected(held.error());
        return std::unexpected(in_use(path));
    }
    return OldVolume(std::move(*source), dry);
}

Outcome<lower::Fd> OldVolume::lock_in_place(lower::LowerFs& fs, const std::string& path) {
    const auto disk = daemon::VolumeOnDisk::open(fs, path);
    if (!disk) return std::unexpected(disk.error());
    // Of the new volume, where that is in place already.
    if (fs.stat_at(disk->root_fd(), volume::kStateName)) {
        const auto state = daemon::view_state(fs, disk->root_fd());
        if (!state) return std::unexpected(state.error());
        if (state->writer_present) return std::unexpected(in_use(path));
    }
    lower::Fd root(fcntl(disk->root_fd(), F_DUPFD_CLOEXEC, 3));
    if (!root) return fail(FailureKind::kOther, errno_text(errno), "; try again");
    if (::flock(root.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return std::unexpected(in_use(path));
    return root;
}

std::uint64_t OldVolume::identity() const {
    return identity_of(source_->identity());
}

Outcome<void> OldVolume::unlock(const volume::OpeningSecret& secret, std::size_t max_descriptors) {
    if (auto opened = source_->unlock(secret); !opened) return opened;
    // A change that was cut short in it is told of, as it is not mended here.
    daemon::Log log;
    source_->mend(log);
    core::Options options;
    options.read_only = read_only_;
    options.max_descriptors = max_descriptors;
    options.on_name_left_out = [names = left_out_.get()](
                                   core::NodeId directory, std::string_view name,
                                   LeftOutNames::Why why) { names->add(directory, name, why); };
    auto fs = open_filesystem(*source_, std::move(options));
    if (!fs) return std::unexpected(fs.error());
    filesystem_ = std::move(*fs);
    return {};
}

// ---- the new one ----

Outcome<crypto::Key256> NewVolume::make(lower::LowerFs& fs, const std::string& path,
                                        volume::NewVolume choice, Bytes password) {
    const auto disk = daemon::VolumeOnDisk::open(fs, path);
    if (!disk) return std::unexpected(disk.error());
    auto creation = daemon::VolumeCreation::prepare(*disk);
    if (!creation) return std::unexpected(creation.error());
    crypto::Key256 box_key;
    const auto config = creation->finish(std::move(choice), password, &box_key);
    if (!config) return std::unexpected(config.error());
    return box_key;
}

volume::OpeningSecret NewVolume::made_secret(const std::optional<crypto::Key256>& made,
                                             Bytes password) {
    volume::OpeningSecret secret(made ? Bytes(made->bytes()) : password);
    secret.is_box_key = made.has_value();
    return secret;
}

Outcome<NewVolume> NewVolume::open(lower::LowerFs& fs, const std::string& path,
                                   const volume::OpeningSecret& secret, std::uint64_t old_volume,
                                   std::size_t max_descriptors) {
    auto made = open_in_place(fs, path, secret, max_descriptors);
    if (!made) return made;
    if (auto journal = made->open_journal(old_volume, path); !journal) {
        (void)made->close();
        return std::unexpected(journal.error());
    }
    return made;
}

Outcome<NewVolume> NewVolume::open_in_place(lower::LowerFs& fs, const std::string& path,
                                            const volume::OpeningSecret& secret,
                                            std::size_t max_descriptors) {
    NewVolume made;
    made.fs_ = &fs;
    auto source = daemon::open_volume(fs, path, {});
    if (!source) return std::unexpected(source.error());
    made.source_ = std::move(*source);
    bool shared = false;
    if (auto held = made.source_->reserve(false, shared); !held)
        return std::unexpected(held.error());
    if (auto opened = made.source_->unlock(secret); !opened) return std::unexpected(opened.error());
    if (auto marked = made.source_->begin_writing(); !marked)
        return std::unexpected(marked.error());
    core::Options options;
    options.max_descriptors = max_descriptors;
    auto filesystem = open_filesystem(*made.source_, std::move(options));
    if (!filesystem) return std::unexpected(filesystem.error());
    made.filesystem_ = std::move(*filesystem);
    return made;
}

Outcome<void> NewVolume::open_journal(std::uint64_t old_volume, const std::string& path) {
    auto there = Journal::open(*fs_, root_fd());
    if (!there) return std::unexpected(there.error());
    if (*there) {
        if ((*there)->old_volume() != old_volume) {
            return fail(
                FailureKind::kCipherDir, path,
                " was begun from another old volume, or before the password of this one was "
                "changed; give that volume, or take ",
                path, " away with --rollback and begin anew");
        }
        journal_ = std::move(**there);
        return {};
    }
    const auto empty = is_empty(*filesystem_);
    if (!empty) return std::unexpected(empty.error());
    if (!*empty) {
        return fail(FailureKind::kCipherDir, path,
                    " is a volume with files in it; give a new or empty directory");
    }
    auto fresh = Journal::create(*fs_, root_fd(), old_volume);
    if (!fresh) return std::unexpected(fresh.error());
    journal_ = std::move(*fresh);
    fresh_ = true;
    return {};
}

Outcome<void> NewVolume::close() {
    const bool in_order = filesystem_->finish();
    filesystem_.reset();
    if (!in_order) return {};
    if (const auto synced = fs_->syncfs(root_fd()); !synced) {
        return fail(FailureKind::kOther, "the new volume could not be synced (",
                    errno_text(synced.error().value), "); check the disk below");
    }
    return source_->end_clean();
}

}  // namespace extencfs::migrate
