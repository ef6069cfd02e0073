// SPDX-License-Identifier: Apache-2.0
// What the kernel's scheduler says of our threads, and how they yield.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <ctime>

namespace extencfs::fuse {

// Whether threads of this process may become SCHED_IDLE and come back from it (CAP_SYS_NICE, or an
// RLIMIT_NICE that allows it).
bool can_yield();
// SCHED_IDLE, or SCHED_OTHER again. False where the thread is not one of this process (any more),
// or that is refused.
bool set_yielding(pid_t thread, bool yielding);
// The clock of the calling thread's processor time.
clockid_t own_cpu_clock();
// Processor time that the clock's thread has had so far, in ns; 0 where it has ended.
std::uint64_t cpu_time_ns(clockid_t clock);
// Whether the thread runs or waits for its processor (and not for anything else).
bool is_runnable(pid_t thread);
// The processor that the thread runs on, or did last; -1 where that cannot be told (it has ended,
// or /proc hides it).
int processor_of(pid_t thread);
// Idle time of all processors together since the system started, in ms (steps of 10 ms); what
// counts as "iowait" included: a processor is idle then too, and whoever waits at a ring counts.
std::uint64_t idle_time_ms();

}  // namespace extencfs::fuse
