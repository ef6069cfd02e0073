// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/legacy_move_run.h"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>

namespace extencfs::core {

namespace {

// ENOTDIR: something else has the place of a directory.
bool is_missing(const lower::Errno& error) {
    return error.value == ENOENT || error.value == ENOTDIR;
}

}  // namespace

lower::Result<lower::Fd> open_own_file(lower::LowerFs& lower, int dirfd, const std::string& entry,
                                       int flags) {
    auto fd = lower.open(dirfd, entry, flags, 0);
    if (fd || fd.error().value != EACCES) return fd;
    auto is = lower.stat_at(dirfd, entry);
    if (!is) return std::unexpected(is.error());
    const mode_t mode = is->st_mode & 07777;
    if (auto r = lower.chmod_at(dirfd, entry, mode | S_IRUSR | S_IWUSR); !r) return fd;
    auto again = lower.open(dirfd, entry, flags, 0);
    if (auto r = lower.chmod_at(dirfd, entry, mode); !r) return std::unexpected(r.error());
    return again;
}

// ---- directories ----

lower::Result<lower::Fd> MoveRunner::open_path(const std::vector<std::string>& path) {
    auto fd = lower_.open(rootfd_, path.empty() ? "" : path.front(), O_RDONLY | O_DIRECTORY, 0);
    for (std::size_t i = 1; i < path.size() && fd; ++i)
        fd = lower_.open(fd->get(), path[i], O_RDONLY | O_DIRECTORY, 0);
    return fd;
}

lower::Result<lower::Fd> MoveRunner::open_directory(std::uint32_t index, int parent) {
    const auto& dir = plan_.dirs[index];
    if (index == 1) {  // the renamed thing itself
        const auto& entry = top_ == MoveTop::kOld ? dir.entry : dir.new_entry;
        return lower_.open(parent, entry, O_RDONLY | O_DIRECTORY, 0);
    }
    auto fd = lower_.open(parent, dir.entry, O_RDONLY | O_DIRECTORY, 0);
    if (!fd && is_missing(fd.error()))
        fd = lower_.open(parent, dir.new_entry, O_RDONLY | O_DIRECTORY, 0);
    return fd;
}

// Steps come directory by directory: most of the time it is open, or the last but one is.
lower::Result<int> MoveRunner::directory(std::uint32_t index) {
    std::vector<std::uint32_t> way;
    for (std::uint32_t at = index; at != 0; at = at == 1 ? 0 : plan_.dirs[at].parent)
        way.push_back(at);
    way.push_back(0);
    std::ranges::reverse(way);
    std::size_t same = 0;
    while (same < open_.size() && same < way.size() && open_[same].first == way[same]) ++same;
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(same), open_.end());
    for (std::size_t i = same; i < way.size(); ++i) {
        if (way[i] == 0) {
            // The directory that the renamed thing lies in now; the root has an empty path.
            const auto& path = top_ == MoveTop::kOld ? plan_.path : plan_.new_path;
            if (path.empty()) {
                open_.emplace_back(0, lower::Fd());
                continue;
            }
            auto fd = open_path(path);
            if (!fd) return std::unexpected(fd.error());
            open_.emplace_back(0, std::move(*fd));
            continue;
        }
        const lower::Fd& above = open_.back().second;
        auto fd = open_directory(way[i], above ? above.get() : rootfd_);
        if (!fd) return std::unexpected(fd.error());
        open_.emplace_back(way[i], std::move(*fd));
    }
    return open_.back().second ? open_.back().second.get() : rootfd_;
}

// ---- steps ----

lower::Result<void> MoveRunner::rename(std::size_t index, int dirfd, MoveDirection direction) {
    const auto& step = plan_.steps[index];
    const bool forward = direction == MoveDirection::kForward;
    const std::string& from = forward ? step.entry : step.new_entry;
    const std::string& to = forward ? step.new_entry : step.entry;
    // What lies in directory 0 is the renamed thing itself, which others rename.
    if (step.dir == 0 || from == to) return {};
    // Done already, or never there.
    if (auto is = lower_.stat_at(dirfd, from); !is)
        return is_missing(is.error()) ? lower::Result<void>{} : std::unexpected(is.error());
    return observer_.name(index, direction, [&]() -> lower::Result<void> {
        auto done = lower_.rename(dirfd, from, dirfd, to, lower::RenameMode::kNoReplace);
        if (done || done.error().value != EINVAL) return done;
        // A lower file system that cannot refuse to replace.
        if (lower_.stat_at(dirfd, to)) return std::unexpected(lower::Errno{EEXIST});
        return lower_.rename(dirfd, from, dirfd, to, lower::RenameMode::kReplace);
    });
}

// Of the file under either of its names whose header is one of the two, or torn between them: what
// else lies there since is somebody else's.
lower::Result<void> MoveRunner::write_header(const legacy::MoveStep& step, int dirfd,
                                             MoveDirection direction) {
    const bool forward = direction == MoveDirection::kForward;
    const ByteVector& header = forward ? step.new_header : step.header;
    std::vector<std::string> names{step.entry, step.new_entry};
    if (step.dir == 0) names = {top_ == MoveTop::kNew ? step.new_entry : step.entry};
    for (const std::string& name : names) {
        auto fd = open_own_file(lower_, dirfd, name, O_RDWR);
        const bool other = !fd && (fd.error().value == EISDIR || fd.error().value == ELOOP ||
                                   fd.error().value == ENXIO);
        if (other || (!fd && is_missing(fd.error()))) continue;
        if (!fd) return std::unexpected(fd.error());
        auto is = lower_.stat(fd->get());
        if (!is) return std::unexpected(is.error());
        if (!S_ISREG(is->st_mode)) continue;
        ByteArray<legacy::kFileHeaderSize> now{};
        auto got = lower_.pread(fd->get(), now, 0);
        if (!got) return std::unexpected(got.error());
        bool ours = *got == now.size();
        for (std::size_t i = 0; ours && i < now.size(); ++i)
            ours = now[i] == step.header[i] || now[i] == step.new_header[i];
        if (!ours) continue;
        auto done = lower_.pwrite(fd->get(), header, 0);
        const struct timespec times[2] = {is->st_atim, is->st_mtim};
        return done ? lower_.utimens(fd->get(), times) : done;
    }
    return {};
}

lower::Result<void> MoveRunner::do_step(std::size_t index, MoveDirection direction) {
    const auto& step = plan_.steps[index];
    auto dirfd = directory(step.dir);
    if (!dirfd) {
        // In a recovery, somebody may have removed it.
        return is_missing(dirfd.error()) ? lower::Result<void>{} : std::unexpected(dirfd.error());
    }
    if (!step.header.empty()) {
        auto written =
            observer_.header(index, [&] { return write_header(step, *dirfd, direction); });
        if (!written && !is_missing(written.error())) return written;
    }
    return rename(index, *dirfd, direction);
}

// Nobody above asked for a change of theirs.
lower::Result<void> MoveRunner::keep_times() {
    std::vector<bool> changed(plan_.dirs.size());
    for (const auto& step : plan_.steps) changed[step.dir] = true;
    for (std::uint32_t i = 1; i < plan_.dirs.size(); ++i) {
        if (!changed[i]) continue;
        auto fd = directory(i);
        // As with the steps: somebody may have moved it since.
        if (!fd && is_missing(fd.error())) continue;
        if (!fd) return std::unexpected(fd.error());
        const auto as_timespec = [](const legacy::MoveTimes& time) {
            return timespec{.tv_sec = time.seconds, .tv_nsec = time.nanoseconds};
        };
        const struct timespec times[2] = {as_timespec(plan_.dirs[i].atime),
                                          as_timespec(plan_.dirs[i].mtime)};
        auto kept = observer_.times(i, [&] { return lower_.utimens(*fd, times); });
        if (!kept) return kept;
    }
    return {};
}

lower::Result<void> MoveRunner::run(MoveDirection direction) {
    for (std::size_t i = 0; i < plan_.steps.size(); ++i) {
        if (auto r = do_step(i, direction); !r) return r;
    }
    return keep_times();
}

}  // namespace extencfs::core
