// SPDX-License-Identifier: Apache-2.0
// What a file system does for whoever rotates its keys. The walk itself is in rotator*.cc.
#include "encfs/core/online_rotation.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <thread>

#include "encfs/core/rotator.h"
#include "encfs/volume/format.h"

namespace extencfs::core {

namespace {

constexpr std::chrono::milliseconds kScanPause{20};

}  // namespace

bool OnlineRotation::is_possible() const {
    return fs_.rotation_.possible;
}

Result<void> OnlineRotation::survey(RotationRun& run) {
    if (!fs_.rotation_.possible)
        return fail(fs_.options_.read_only ? ErrorKind::kReadOnly : ErrorKind::kUnsupported);
    while (fs_.scanning_) {
        if (run.stop || fs_.stopping_) return fail(lower::Errno{ECANCELED});
        std::this_thread::sleep_for(kScanPause);
    }
    run.begin();
    return Filesystem::Rotator(fs_, run).survey();
}

void OnlineRotation::tell_files() {
    std::vector<Filesystem::File> files = fs_.files_->all();
    {
        const std::lock_guard lock(fs_.nameless_mutex_);
        for (const auto& [node, nameless] : fs_.nameless_) {
            if (nameless.file) files.push_back(nameless.file);
        }
    }
    for (const Filesystem::File& file : files) file->keys_changed();
}

bool OnlineRotation::has_lost_writes() const {
    return fs_.rotation_.lost_writes;
}

Result<void> OnlineRotation::watch_storage() {
    const int root = fs_.root_->fd.get();
    auto fd = fs_.lower_->open(root, volume::kStateName, O_RDONLY, 0);
    if (!fd) fd = fs_.lower_->open(root, volume::kConfigName, O_RDONLY, 0);
    if (!fd) return fail(fd.error());
    fs_.rotation_.lost_writes = false;
    fs_.rotation_.sync_fd = std::move(*fd);
    if (auto r = fs_.lower_->syncfs(fs_.rotation_.sync_fd.get()); !r) return fail(r.error());
    return {};
}

Result<void> OnlineRotation::begin(std::shared_ptr<const volume::VolumeKeys> keys,
                                   const MakeResealing& make) {
    if (!fs_.rotation_.possible) return fail(ErrorKind::kUnsupported);
    const std::unique_lock alone(fs_.gate_);
    auto resealing = make();
    if (!resealing) return fail(resealing.error());
    fs_.rotation_.format->take_keys(std::move(keys), true);
    fs_.rotation_.resealing = std::move(*resealing);
    fs_.rotation_.steady_listings = true;
    tell_files();
    return {};
}

Result<void> OnlineRotation::run(RotationRun& run) {
    struct Noting {
        explicit Noting(Filesystem& of) : fs(of) { set(true); }
        ~Noting() { set(false); }
        Noting(const Noting&) = delete;
        Noting& operator=(const Noting&) = delete;
        void set(bool noting) const {
            const std::unique_lock alone(fs.gate_);
            fs.rotation_.notes_moves = noting;
        }
        Filesystem& fs;
    };
    run.begin();
    run.failed_at.clear();
    Filesystem::Rotator rotator(fs_, run);  // goes after Noting, and takes what was noted with it
    const Noting noting(fs_);
    // Headers that are read are durable then, and what an earlier run wrote is.
    if (auto r = rotator.settle(); !r) return r;
    if (auto r = rotator.renew(); !r) return r;
    if (auto r = rotator.settle(); !r) return r;
    run.begin();
    run.cleaning = true;
    if (auto r = rotator.clean(); !r) return r;
    lower::Result<void> cleaned;
    change_root([&] { cleaned = fs_.rotation_.resealing->clean(); });
    if (!cleaned) return fail(cleaned.error());
    return rotator.settle();
}

void OnlineRotation::end(std::shared_ptr<const volume::VolumeKeys> keys) {
    const std::unique_lock alone(fs_.gate_);
    fs_.rotation_.format->take_keys(std::move(keys), false);
    tell_files();
    // What lies in a directory that was given up is reached by nothing that is left open there.
    const std::uint32_t newest = fs_.rotation_.format->root().generation;
    for (const NodeId node : fs_.table_->forget_contexts_but(newest)) fs_.dirs_->remove(node);
    fs_.rotation_.resealing.reset();
}

void OnlineRotation::change_root(const std::function<void()>& change) {
    const std::unique_lock alone(fs_.gate_);
    Filesystem::Rotator::Inside root(fs_);
    (void)root.open(kRootNode);
    change();
}

void OnlineRotation::forget_listings() {
    const std::unique_lock alone(fs_.gate_);
    fs_.rotation_.steady_listings = false;
    fs_.rotation_.snapshots.forget();
}

// ---- for the operations meanwhile ----

bool Filesystem::is_renewed(const DirContext& context) const {
    return rotation_.format != nullptr && rotation_.format->is_newest(context);
}

void Filesystem::note_moved(const Place& place) {
    if (!rotation_.notes_moves) return;
    const auto is = lower_->stat_at(place.dir->fd.get(), place.entry());
    const bool is_sealed =
        is && (S_ISREG(is->st_mode) || S_ISDIR(is->st_mode) || S_ISLNK(is->st_mode));
    if (is && (!is_sealed || rotation_.notes.is_walked(is->st_ino))) return;
    const NodeId node = is ? table_->acquire(place.location, is->st_ino, is->st_mode) : NodeId{0};
    if (node == 0 || !table_->hold(place.location.parent)) {
        if (node != 0) give_back(node, 1);
        rotation_.notes.lose();
        return;
    }
    if (rotation_.notes.add({node, place.location, S_ISLNK(is->st_mode)})) return;
    give_back(node, 1);
    give_back(place.location.parent, 1);
}

}  // namespace extencfs::core
