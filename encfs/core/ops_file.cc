// SPDX-License-Identifier: Apache-2.0
// Contents of regular files.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

namespace {
constexpr std::size_t kCopyChunk = 1024 * 1024;
// One call's work; the caller goes on after a short copy.
constexpr std::size_t kMostCopied = 8 * kCopyChunk;
}  // namespace

Result<void> Filesystem::open_file(NodeId node) {
    const auto still = still_paths();
    // Somebody else may have changed the lower file since it was last looked at.
    if (options_.shared) files_->remove_if_unused(node);
    auto opened = file(node, OpenIntent::kRead);
    if (!opened) return std::unexpected(opened.error());
    return {};
}

Result<Bytes> Filesystem::read(NodeId node, std::uint64_t off, std::size_t size, IoBuffer& buffer) {
    const auto still = still_paths();
    auto opened = file(node, OpenIntent::kRead);
    if (!opened) return std::unexpected(opened.error());
    return (*opened)->read(off, size, buffer);
}

template <typename Act>
auto Filesystem::change_contents(NodeId node, const KillPrivilege& kill, const Act& change)
    -> std::invoke_result_t<Act, ContentFile&> {
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    auto opened = file(node, OpenIntent::kWrite);
    if (!opened) return std::unexpected(opened.error());
    auto is = view(node);
    if (!is) return std::unexpected(is.error());
    ChangeScope scope(*sink_, {.inodes = {is->ino}});
    if (auto r = clear_suid((*opened)->fd(), kill); !r) return std::unexpected(r.error());
    auto done = change(**opened);
    publish_change(node, scope.change());
    return done;
}

Result<void> Filesystem::write(NodeId node, std::uint64_t off, Bytes in, WriteSource source,
                               const KillPrivilege& kill) {
    const auto still = still_paths();
    return change_contents(node, kill, [&](ContentFile& opened) {
        return source == WriteSource::kCaller ? opened.write(off, in, source)
                                              : write_back(node, opened, off, in);
    });
}

Result<void> Filesystem::write_back(NodeId node, ContentFile& opened, std::uint64_t off, Bytes in) {
    // The kernel owns the times of what it writes back, and tells them by SETATTR, unless they are
    // what it told before: the lower write must not move them.
    auto& clock = time_stripe(node);
    std::uint64_t changes;
    lower::Result<struct stat> before;
    {
        std::lock_guard lock(clock.mutex);
        changes = clock.changes;
        before = lower_->stat(opened.fd());
    }
    if (!before) return fail(before.error());
    if (auto r = opened.write(off, in, WriteSource::kPageCache); !r) return r;
    std::lock_guard lock(clock.mutex);
    if (changes != clock.changes) return {};  // told anew meanwhile
    const struct timespec times[2] = {{0, UTIME_OMIT}, before->st_mtim};
    // Not ours to set on another user's file: then the write's own time stays.
    (void)lower_->utimens(opened.fd(), times);
    return {};
}

Result<void> Filesystem::flush(NodeId node) {
    const auto still = still_paths();
    if (auto open = files_->find(node)) return open->settle();
    return {};
}

Result<void> Filesystem::fsync(NodeId node, bool data_only) {
    auto still = still_paths();
    if (options_.read_only) return {};
    auto is = view(node);
    if (!is) return std::unexpected(is.error());
    if (!S_ISREG(is->type)) return {};
    // Also of a file that cannot be written (immutable): then nothing of ours waits.
    auto opened = file(node, OpenIntent::kRead);
    if (!opened) return std::unexpected(opened.error());
    // It takes as long as the disk likes, and whoever waits at the gate keeps all others out.
    if (rotation_.possible) still = {};
    if (auto r = (*opened)->settle(); !r) return r;
    if (auto r = (*opened)->sync(data_only); !r) {
        // It is told once, and a rotation of keys that is under way need not hear of it.
        if (r.error().kind == ErrorKind::kLower) rotation_.lost_writes = true;
        return r;
    }
    if (rotation_.possible) still = still_paths();
    return sync_ancestors(node);
}

Result<void> Filesystem::fallocate(NodeId node, int mode, std::uint64_t off, std::uint64_t size,
                                   const KillPrivilege& kill) {
    const auto still = still_paths();
    return change_contents(node, kill,
                           [&](ContentFile& opened) { return opened.allocate(mode, off, size); });
}

Result<std::uint64_t> Filesystem::seek(NodeId node, std::uint64_t off, int whence) {
    const auto still = still_paths();
    auto opened = file(node, OpenIntent::kRead);
    if (!opened) return std::unexpected(opened.error());
    return (*opened)->seek(off, whence);
}

Result<std::size_t> Filesystem::copy_range(NodeId from, std::uint64_t from_off, NodeId to,
                                           std::uint64_t to_off, std::size_t size) {
    const auto still = still_paths();
    if (options_.read_only) return fail(ErrorKind::kReadOnly);
    auto source = file(from, OpenIntent::kRead);
    if (!source) return std::unexpected(source.error());
    return change_contents(to, {}, [&](ContentFile& target) -> Result<std::size_t> {
        static thread_local IoBuffer buffer;
        std::size_t copied = 0;
        const std::size_t wanted = std::min(size, kMostCopied);
        while (copied < wanted) {
            auto chunk =
                (*source)->read(from_off + copied, std::min(wanted - copied, kCopyChunk), buffer);
            // What was copied before an error counts: the caller is told of a short copy.
            if (!chunk) {
                if (copied > 0) break;
                return std::unexpected(chunk.error());
            }
            if (chunk->empty()) break;
            if (auto r = target.write(to_off + copied, *chunk, WriteSource::kCaller); !r) {
                if (copied > 0) break;
                return std::unexpected(r.error());
            }
            copied += chunk->size();
        }
        return copied;
    });
}

}  // namespace extencfs::core
