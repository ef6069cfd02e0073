// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/background.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "encfs/lower/fd.h"

namespace extencfs::daemon {
namespace {

// The report on the pipe: one byte, kReady or the failure's kind, then the sentence up to the end.
constexpr unsigned char kReady = 0xff;
static_assert(static_cast<unsigned>(FailureKind::kCount) < kReady);

constexpr std::array kForwarded{SIGINT, SIGTERM, SIGHUP, SIGQUIT};

volatile sig_atomic_t child_to_signal = 0;
void forward(int number) {
    const int saved = errno;
    if (child_to_signal > 0) kill(child_to_signal, number);
    errno = saved;
}

void set_forwarding(void (*handler)(int)) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    for (const int number : kForwarded) {
        struct sigaction now {};
        // What is ignored (nohup) stays ignored.
        sigaction(number, nullptr, &now);
        if (now.sa_handler != SIG_IGN) sigaction(number, &action, nullptr);
    }
}

// False when nobody reads it any more.
bool send_report(int pipe_fd, unsigned char head, const std::string& sentence) {
    std::string report(1, static_cast<char>(head));
    report += sentence;
    const char* at = report.data();
    std::size_t left = report.size();
    while (left != 0) {
        const ssize_t done = ::write(pipe_fd, at, left);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return false;
        at += done;
        left -= static_cast<std::size_t>(done);
    }
    return true;
}

std::string receive_report(int pipe_fd) {
    std::string report;
    char buffer[1024];
    for (;;) {
        const ssize_t got = ::read(pipe_fd, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return report;
        report.append(buffer, static_cast<std::size_t>(got));
    }
}

// What the caller of the command had open, which is nothing to a daemon: a lock or a pipe would be
// held for as long as the volume is mounted.
std::vector<int> inherited_descriptors(int own) {
    std::vector<int> found;
    DIR* directory = ::opendir("/proc/self/fd");
    if (directory == nullptr) return found;
    while (const struct dirent* entry = ::readdir(directory)) {
        const int fd = std::atoi(entry->d_name);
        if (fd > STDERR_FILENO && fd != own && fd != ::dirfd(directory)) found.push_back(fd);
    }
    ::closedir(directory);
    return found;
}

void leave_terminal() {
    setsid();
    (void)!chdir("/");
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) return;
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(null, fd);
    if (null > STDERR_FILENO) ::close(null);
}

[[noreturn]] void run_child(const Service& service, lower::Fd report) {
    // Not closed yet: the password may come from one of them.
    const auto inherited = inherited_descriptors(report.get());
    // May be called on another thread than this one.
    const auto done = service([&report, &inherited] {
        leave_terminal();
        for (const int fd : inherited) ::close(fd);
        // Whoever killed the command while it waited wants no mount to stay.
        if (!send_report(report.get(), kReady, "")) kill(getpid(), SIGTERM);
        report.reset();
    });
    if (!done && report) {
        (void)send_report(report.get(), static_cast<unsigned char>(done.error().kind),
                          done.error().sentence);
    }
    std::exit(done ? 0 : 1);
}

Outcome<void> died(int status) {
    if (WIFSIGNALED(status)) {
        const int number = WTERMSIG(status);
        for (const int forwarded : kForwarded) {
            if (number != forwarded) continue;
            signal(number, SIG_DFL);
            raise(number);
        }
        return fail(FailureKind::kDaemonDied, "the daemon was killed by signal ",
                    std::to_string(number),
                    " before the mount was ready; run it with -f to see why");
    }
    return fail(FailureKind::kDaemonDied, "the daemon ended with status ",
                std::to_string(WEXITSTATUS(status)),
                " before the mount was ready; run it with -f to see why");
}

}  // namespace

Outcome<void> run_in_background(const Service& service) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return fail(FailureKind::kOther, "no pipe can be made (", errno_text(errno),
                    "); close other programs and try again");
    }
    lower::Fd from_child(ends[0]);
    lower::Fd to_parent(ends[1]);
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child < 0) {
        return fail(FailureKind::kOther, "the daemon cannot be started (", errno_text(errno),
                    "); close other programs and try again");
    }
    if (child == 0) {
        from_child.reset();
        run_child(service, std::move(to_parent));
    }
    to_parent.reset();
    child_to_signal = child;
    set_forwarding(forward);
    const std::string report = receive_report(from_child.get());
    child_to_signal = 0;
    if (!report.empty() && static_cast<unsigned char>(report[0]) == kReady) return {};
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    set_forwarding(SIG_DFL);
    const unsigned head = report.empty() ? kReady : static_cast<unsigned char>(report[0]);
    if (head >= static_cast<unsigned>(FailureKind::kCount)) return died(status);
    return std::unexpected(Failure{static_cast<FailureKind>(head), report.substr(1)});
}

}  // namespace extencfs::daemon
