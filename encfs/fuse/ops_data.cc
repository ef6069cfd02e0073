// SPDX-License-Identifier: Apache-2.0
// Requests about the contents of files.
#include <fcntl.h>
#include <cerrno>

#include "encfs/fuse/reply.h"
#include "encfs/fuse/state.h"

namespace extencfs::fuse {

namespace {

// Reads and writes of at least this size are worked on off the ring's thread, which is bound to one
// processor: that of whoever waits for it.
constexpr std::size_t kPoolBytes = 64 * 1024;
constexpr std::uint64_t kBlock = 4096;

void fill_open(struct fuse_file_info& info, const Features& features) {
    info.keep_cache = features.keep_cache;
    info.noflush = features.no_flush;
}

void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info* info) {
    auto& state = begin(req, Opcode::kOpen);
    if (state.features.no_open) {
        reply_switch_off(req);
        return;
    }
    if (info->flags & O_TRUNC) {
        core::AttrChange change;
        change.size_set = true;
#ifdef EXTENCFS_LIBFUSE_BUNDLED
        change.kill = privilege_of(req, info->kill_suidgid);
#endif
        if (auto r = state.fs.setattr(node, change); !r) return reply_error(req, r.error());
    }
    if (auto r = state.fs.open_file(node); !r) return reply_error(req, r.error());
    struct fuse_file_info out = *info;
    fill_open(out, state.features);
    Gate* const gate = state.options.gate;
    if (gate != nullptr) gate->opened();
    // One that the kernel did not take is never released.
    if (fuse_reply_open(req, &out) != 0 && gate != nullptr) gate->released();
}

void reply_created(fuse_req_t req, Session::State& state, const core::Result<core::Entry>& entry,
                   const struct fuse_file_info& info) {
    if (!entry) return reply_error(req, entry.error());
    const auto out = entry_param(*entry, state);
    struct fuse_file_info opened = info;
    fill_open(opened, state.features);
    const auto node = entry->node;
    Gate* const gate = state.options.gate;
    if (gate != nullptr) gate->opened();
    if (fuse_reply_create(req, &out, &opened) == 0) return;
    if (gate != nullptr) gate->released();
    state.fs.forget(node, 1);
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode,
               struct fuse_file_info* info) {
    auto& state = begin(req, Opcode::kCreate);
    if (state.features.no_open) {
        reply_switch_off(req);  // the kernel makes it by MKNOD and opens it without asking
        return;
    }
    auto entry = state.fs.create(parent, name, mode, caller_of(req));
    // Somebody else made it since the kernel looked: it looks again, and opens what is there.
    if (!entry && core::errno_of(entry.error()) == EEXIST && !(info->flags & O_EXCL))
        return reply_error(req, {core::ErrorKind::kStale});
    reply_created(req, state, entry, *info);
}

#ifdef EXTENCFS_LIBFUSE_BUNDLED
void op_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, struct fuse_file_info* info) {
    auto& state = begin(req, Opcode::kTmpfile);
    reply_created(req, state, state.fs.tmpfile(parent, mode, caller_of(req)), *info);
}
#endif

void read_now(fuse_req_t req, Session::State& state, fuse_ino_t node, std::size_t size,
              std::uint64_t off) {
    static thread_local core::IoBuffer buffer;
    buffer.lend({});
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    char* payload = nullptr;
    std::size_t room = 0;
    void* registration = nullptr;
    // Decrypted in place: then the reply needs no copy. Only from a block's start, so that the
    // result lies at the payload's start.
    if (off % kBlock == 0 && fuse_req_get_payload(req, &payload, &room, &registration) == 0)
        buffer.lend(std::as_writable_bytes(std::span(payload, room)));
#endif
    auto bytes = state.fs.read(node, off, size, buffer);
    if (!bytes) return reply_error(req, bytes.error());
    state.stats.add_read(bytes->size());
    fuse_reply_buf(req, reinterpret_cast<const char*>(bytes->data()), bytes->size());
}

void op_read(fuse_req_t req, fuse_ino_t node, std::size_t size, off_t offset,
             struct fuse_file_info*) {
    auto& state = begin(req, Opcode::kRead);
    const auto off = static_cast<std::uint64_t>(offset);
    if (state.pool && size >= kPoolBytes && over_ring(req)) {
        state.pool->submit([=, &state] { read_now(req, state, node, size, off); });
        return;
    }
    read_now(req, state, node, size, off);
}

void write_now(fuse_req_t req, Session::State& state, fuse_ino_t node, Bytes in, off_t offset,
               core::WriteSource source, bool kill) {
    auto r = state.fs.write(node, static_cast<std::uint64_t>(offset), in, source,
                            privilege_of(req, kill));
    if (!r) return reply_error(req, r.error());
    state.stats.add_written(in.size());
    fuse_reply_write(req, in.size());
}

void op_write(fuse_req_t req, fuse_ino_t node, const char* bytes, std::size_t size, off_t offset,
              struct fuse_file_info* info) {
    auto& state = begin(req, Opcode::kWrite);
    // Without the write-back cache only mapped pages come from the page cache, within the size, and
    // their times are ours to set.
    const auto source = info->writepage && state.features.writeback ? core::WriteSource::kPageCache
                                                                    : core::WriteSource::kCaller;
    bool kill = false;
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    kill = info->kill_suidgid;
#endif
    const Bytes in = std::as_bytes(std::span(bytes, size));
    // Over the ring the payload is ours until the reply, whichever thread gives it.
    if (state.pool && size >= kPoolBytes && over_ring(req)) {
        state.pool->submit([=, &state] { write_now(req, state, node, in, offset, source, kill); });
        return;
    }
    write_now(req, state, node, in, offset, source, kill);
}

void op_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info*) {
    auto& state = begin(req, Opcode::kFlush);
    if (state.features.no_flush) {
        reply_switch_off(req);
        return;
    }
    reply(req, state.fs.flush(node));
}

void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info*) {
    auto& state = begin(req, Opcode::kRelease);
    // close(2) does not wait for this, and has no way to tell its caller.
    (void)state.fs.flush(node);
    if (state.options.gate != nullptr) state.options.gate->released();
    reply_done(req);
}

void op_fsync(fuse_req_t req, fuse_ino_t node, int data_only, struct fuse_file_info*) {
    auto& state = begin(req, Opcode::kFsync);
    reply(req, state.fs.fsync(node, data_only != 0));
}

void op_ioctl(fuse_req_t req, fuse_ino_t, unsigned, void*, struct fuse_file_info*, unsigned,
              const void*, std::size_t, std::size_t) {
    begin(req, Opcode::kIoctl);
    reply_not_a_device(req);
}

void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
                  struct fuse_file_info*) {
    auto& state = begin(req, Opcode::kFallocate);
    // This request has no flag for it: whoever is not root has no CAP_FSETID.
    const bool kill = fuse_req_ctx(req)->uid != 0;
    reply(req, state.fs.fallocate(node, mode, static_cast<std::uint64_t>(offset),
                                  static_cast<std::uint64_t>(length), privilege_of(req, kill)));
}

void op_lseek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info*) {
    auto& state = begin(req, Opcode::kLseek);
    // The kernel does not write its pages out first, so that fresh data would look like a hole; and
    // it cannot be made to from here (waiting for that can wait for ever). Without us it takes the
    // whole file for data.
    if (state.features.writeback) return reply_switch_off(req);
    auto found = state.fs.seek(node, static_cast<std::uint64_t>(offset), whence);
    if (!found) return reply_error(req, found.error());
    fuse_reply_lseek(req, static_cast<off_t>(*found));
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t from_off, struct fuse_file_info*,
                        fuse_ino_t to, off_t to_off, struct fuse_file_info*, std::size_t size,
                        int flags) {
    auto& state = begin(req, Opcode::kCopyFileRange);
    if (flags != 0) return reply_error(req, {core::ErrorKind::kInvalid});
    auto copied = state.fs.copy_range(from, static_cast<std::uint64_t>(from_off), to,
                                      static_cast<std::uint64_t>(to_off), size);
    if (!copied) return reply_error(req, copied.error());
    fuse_reply_write(req, *copied);
}

}  // namespace

void add_data_operations(struct fuse_lowlevel_ops& ops) {
    ops.open = op_open;
    ops.create = op_create;
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    ops.tmpfile = op_tmpfile;
#endif
    ops.read = op_read;
    ops.write = op_write;
    ops.flush = op_flush;
    ops.release = op_release;
    ops.fsync = op_fsync;
    ops.ioctl = op_ioctl;
    ops.fallocate = op_fallocate;
    ops.lseek = op_lseek;
    ops.copy_file_range = op_copy_file_range;
}

}  // namespace extencfs::fuse
