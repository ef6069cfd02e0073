// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/scheduler.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <thread>

namespace extencfs::fuse {

bool can_yield() {
    bool can = false;
    // Not on this thread: it would have no way back.
    std::thread([&can] {
        can = set_yielding(::gettid(), true) && set_yielding(::gettid(), false);
    }).join();
    return can;
}

bool set_yielding(pid_t thread, bool yielding) {
    // The number of a thread that has ended may be another process's by now.
    if (::tgkill(::getpid(), thread, 0) != 0) return false;
    const struct sched_param parameters {};
    return ::sched_setscheduler(thread, yielding ? SCHED_IDLE : SCHED_OTHER, &parameters) == 0;
}

clockid_t own_cpu_clock() {
    clockid_t clock = CLOCK_THREAD_CPUTIME_ID;
    (void)::pthread_getcpuclockid(::pthread_self(), &clock);
    return clock;
}

std::uint64_t cpu_time_ns(clockid_t clock) {
    struct timespec time {};
    if (::clock_gettime(clock, &time) != 0) return 0;
    return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(time.tv_nsec);
}

bool is_runnable(pid_t thread) {
    std::ifstream file("/proc/self/task/" + std::to_string(thread) + "/stat");
    std::string line;
    std::getline(file, line);
    // proc(5): the name in parentheses may hold anything; the state follows it.
    const auto name_end = line.rfind(')');
    return name_end != std::string::npos && name_end + 2 < line.size() && line[name_end + 2] == 'R';
}

std::uint64_t idle_time_ms() {
    std::ifstream file("/proc/stat");
    std::string word;
    std::uint64_t user = 0, nice = 0, system = 0, idle = 0, waiting = 0;
    file >> word >> user >> nice >> system >> idle >> waiting;
    static const auto kTicksPerSecond = static_cast<std::uint64_t>(::sysconf(_SC_CLK_TCK));
    return (idle + waiting) * 1000 / kTicksPerSecond;
}

}  // namespace extencfs::fuse
