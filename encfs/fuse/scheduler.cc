// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/scheduler.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

namespace extencfs::fuse {

namespace {

// proc_pid_stat(5); `number` is 3 (the state) or more. Empty where there is no such thread. In the
// way of requests now and then: one open, read and close.
std::string field_of(pid_t thread, int number) {
    char bytes[1024];
    const std::string path = "/proc/" + std::to_string(thread) + "/stat";
    const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) return {};
    const ssize_t count = ::read(file, bytes, sizeof bytes);
    ::close(file);
    std::string_view line(bytes, count > 0 ? static_cast<std::size_t>(count) : 0);
    // The name in parentheses may hold anything.
    line.remove_prefix(std::min(line.rfind(')'), line.size()));
    for (int at = 2; at < number && !line.empty(); ++at)
        line.remove_prefix(std::min(line.find(' '), line.size() - 1) + 1);
    return std::string(line.substr(0, line.find(' ')));
}

}  // namespace

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
    return field_of(thread, 3) == "R";
}

int processor_of(pid_t thread) {
    const std::string field = field_of(thread, 39);
    int processor = -1;
    std::from_chars(field.data(), field.data() + field.size(), processor);
    return processor;
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
