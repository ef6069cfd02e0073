// SPDX-License-Identifier: Apache-2.0
// Receives requests over /dev/fuse, where there are no rings (ADR 0009). Knows libfuse's session,
// not the file system behind it.
#pragma once

#include <fuse_lowlevel.h>
#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "encfs/fuse/cpu_handoff.h"
#include "encfs/fuse/leader_watch.h"
#include "encfs/fuse/worker_pool.h"

namespace extencfs::fuse {

// A few threads receive requests. While the CpuHandoff yields only one of them does, the leader:
// SCHED_IDLE, and bound to the processor of whoever sends the requests. It gives what takes long to
// the pool; the others rest.
class ClassicLoop {
  public:
    // `handoff` (may be null) and `pool` outlive the loop.
    ClassicLoop(struct fuse_session* session, CpuHandoff* handoff, WorkerPool& pool);
    ~ClassicLoop();
    ClassicLoop(const ClassicLoop&) = delete;
    ClassicLoop& operator=(const ClassicLoop&) = delete;

    // Serves until nothing is mounted any more, or stop(). Returns 0 or an errno.
    int run();
    // Ends run() once the requests at work are finished. THREADS: any.
    void stop();

  private:
    struct Receiver {
        std::thread thread;
        std::atomic<pid_t> id{0};
        std::atomic<bool> waits{false};  // for a request: may be kicked
        bool ended = false;              // LOCKS: mutex_
        // Of the thread itself:
        bool leads = false;
        unsigned received = 0;  // as the leader
        int processor = -1;     // the one that it is bound to
        // Where the request before this one was looked at: whose it was, and whether more waited.
        std::optional<pid_t> looked_beside;
        bool more_waited = false;
    };
    // A request as libfuse received it, with its memory.
    struct Request;

    void serve(Receiver& self);
    // Waits until this thread may receive; whether it does so as the leader. False also at the end.
    bool take_turn(Receiver& self);
    void step_down(Receiver& self);
    void lead(Receiver& self, std::unique_ptr<Request>& request);
    void follow_client(Receiver& self, pid_t client);
    bool more_waiting() const;
    std::unique_ptr<Request> spare_request();
    void give_back(std::unique_ptr<Request> request);
    bool one_leads() const { return handoff_ != nullptr && handoff_->yielding(); }
    void let_all_receive();

    struct fuse_session* const session_;
    CpuHandoff* const handoff_;
    WorkerPool& pool_;
    cpu_set_t allowed_{};  // the processors of this process
    LeaderWatch watch_;
    std::atomic<int> error_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
    Receiver* leader_ = nullptr;
    bool exiting_ = false;
    std::vector<std::unique_ptr<Request>> spares_;
    std::vector<std::unique_ptr<Receiver>> receivers_;
};

}  // namespace extencfs::fuse
