// SPDX-License-Identifier: Apache-2.0
// What the request handlers share. Internal to encfs/fuse.
#pragma once

#include <fuse_lowlevel.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "encfs/fuse/classic_loop.h"
#include "encfs/fuse/cpu_handoff.h"
#include "encfs/fuse/features.h"
#include "encfs/fuse/session.h"
#include "encfs/fuse/stats.h"
#include "encfs/fuse/worker_pool.h"

namespace extencfs::fuse {

struct Session::State {
    core::Filesystem& fs;
    MountOptions options;
    struct fuse_session* session = nullptr;
    Features features;
    Stats stats;
    std::atomic<bool> mounted{false};
    std::unique_ptr<WorkerPool> pool;      // for what takes long
    std::mutex notifier_mutex;             // a leaf; not held while a pool ends
    std::unique_ptr<WorkerPool> notifier;  // tells the kernel of wrong names, and may wait for it
    std::unique_ptr<CpuHandoff> handoff;   // where threads may yield to clients
    std::unique_ptr<ClassicLoop> loop;     // where there are no rings
    std::thread tuner;
    std::mutex notes_mutex;  // features.notes, once the session runs
};

// The operations table that libfuse calls.
extern const struct fuse_lowlevel_ops kOperations;
// The same, each behind the gate. REQUIRES: MountOptions::gate.
const struct fuse_lowlevel_ops& gated_operations();
// Its parts (one file each).
void add_name_operations(struct fuse_lowlevel_ops& ops);
void add_data_operations(struct fuse_lowlevel_ops& ops);
void add_directory_operations(struct fuse_lowlevel_ops& ops);
void add_xattr_operations(struct fuse_lowlevel_ops& ops);

inline bool over_ring([[maybe_unused]] fuse_req_t req) {
#ifdef EXTENCFS_LIBFUSE_BUNDLED
    return fuse_req_is_uring(req);
#else
    return false;
#endif
}

// The state behind a request, which is counted.
inline Session::State& begin(fuse_req_t req, Opcode opcode) {
    auto& state = *static_cast<Session::State*>(fuse_req_userdata(req));
    state.stats.count(opcode);
    if (state.handoff) over_ring(req) ? state.handoff->count_on_ring() : state.handoff->count();
    return state;
}

}  // namespace extencfs::fuse
