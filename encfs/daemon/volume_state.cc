// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/volume_state.h"

#include <fcntl.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "encfs/volume/format.h"

namespace extencfs::daemon {
namespace {

// Equal lengths, so that one overwrites the other in a single write without a truncation.
constexpr std::string_view kClean = "clean\n";
constexpr std::string_view kDirty = "dirty\n";
static_assert(kClean.size() == kDirty.size());

// How often the file may be replaced under us before we give up.
constexpr int kAttempts = 16;

struct flock whole_file(short type) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    return lock;
}

std::unexpected<Failure> unusable(int error) {
    return fail(FailureKind::kCipherDir, "the volume's extencfs.state cannot be used (",
                errno_text(error), "); make the directory writable or mount with --ro");
}

lower::Result<bool> reads_clean(lower::LowerFs& fs, int fd) {
    std::array<std::byte, kClean.size() + 1> text{};
    const auto size = fs.pread(fd, text, 0);
    if (!size) return std::unexpected(size.error());
    return text_of(Bytes(text).first(*size)) == kClean;
}

lower::Result<lower::Fd> open_regular(lower::LowerFs& fs, int root_fd, int flags) {
    auto file = fs.open(root_fd, volume::kStateName, flags | O_NONBLOCK | O_NOCTTY, 0600);
    if (!file) return file;
    const auto st = fs.stat(file->get());
    if (!st) return std::unexpected(st.error());
    if (!S_ISREG(st->st_mode)) return std::unexpected(lower::Errno{EINVAL});
    return file;
}

// A sync tool may replace the file between open and lock; a lock on a file without a name guards
// nothing.
bool still_named(lower::LowerFs& fs, int root_fd, int fd) {
    const auto here = fs.stat(fd);
    const auto named = fs.stat_at(root_fd, volume::kStateName);
    return here && named && here->st_ino == named->st_ino && here->st_dev == named->st_dev;
}

}  // namespace

Outcome<StateView> view_state(lower::LowerFs& fs, int root_fd) {
    StateView view;
    const auto file = open_regular(fs, root_fd, O_RDONLY);
    if (!file) {
        if (file.error().value == ENOENT) return view;
        return unusable(file.error().value);
    }
    view.exists = true;
    struct flock lock = whole_file(F_WRLCK);
    view.writer_present = fcntl(file->get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    const auto clean = reads_clean(fs, file->get());
    if (!clean) return unusable(clean.error().value);
    view.clean = *clean && !view.writer_present;
    return view;
}

Outcome<WriterLock> WriterLock::acquire(lower::LowerFs& fs, int root_fd) {
    for (int attempt = 0; attempt < kAttempts; ++attempt) {
        auto file = open_regular(fs, root_fd, O_RDWR);
        const bool made = !file && file.error().value == ENOENT;
        if (made) file = open_regular(fs, root_fd, O_RDWR | O_CREAT | O_EXCL);
        if (made && !file && file.error().value == EEXIST) continue;  // somebody else did
        if (!file) return unusable(file.error().value);
        struct flock lock = whole_file(F_WRLCK);
        bool enforced = true;
        if (fcntl(file->get(), F_OFD_SETLK, &lock) != 0) {
            if (errno == EAGAIN || errno == EACCES) {
                return fail(FailureKind::kLocked,
                            "the volume is already mounted for writing; unmount it there, or add "
                            "--ro for a second, read-only mount");
            }
            if (errno != ENOLCK && errno != EOPNOTSUPP && errno != EINVAL) return unusable(errno);
            enforced = false;
        }
        if (!still_named(fs, root_fd, file->get())) continue;
        const auto clean = reads_clean(fs, file->get());
        if (!clean) return unusable(clean.error().value);
        WriterLock held(fs, std::move(*file));
        held.was_clean_ = *clean;
        held.made_file_ = made;
        held.enforced_ = enforced;
        return held;
    }
    return unusable(EAGAIN);
}

Outcome<void> WriterLock::write_text(std::string_view text) {
    // A longer foreign text would otherwise leave its tail behind ours.
    if (auto cut = fs_->truncate(file_.get(), text.size()); !cut) {
        return unusable(cut.error().value);
    }
    if (auto put = fs_->pwrite(file_.get(), bytes_of(text), 0); !put) {
        return unusable(put.error().value);
    }
    if (auto synced = fs_->fsync(file_.get()); !synced) return unusable(synced.error().value);
    return {};
}

Outcome<void> WriterLock::begin_writing() {
    return write_text(kDirty);
}
Outcome<void> WriterLock::end_clean() {
    return write_text(kClean);
}

}  // namespace extencfs::daemon
