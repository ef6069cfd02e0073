// SPDX-License-Identifier: Apache-2.0
#include "tools/prompt.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string_view>

#include "encfs/lower/fd.h"

namespace extencfs::tools {
namespace {

using daemon::fail;
using daemon::FailureKind;
using daemon::Outcome;

constexpr std::array kCaught{SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGALRM,
                             SIGTSTP, SIGTTIN, SIGTTOU, SIGPIPE};
volatile sig_atomic_t caught = 0;
void remember(int number) {
    caught = number;
}

bool is_stop(int number) {
    return number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
}

// Handlers without SA_RESTART, so that a signal ends the wait and not the program. Signals from
// outside come during that wait only: one that came just before it would otherwise be slept over.
// Puts the old state back when it dies.
class CaughtSignals {
  public:
    CaughtSignals() {
        caught = 0;
        struct sigaction action {};
        action.sa_handler = remember;
        for (std::size_t i = 0; i < kCaught.size(); ++i) {
            sigaction(kCaught[i], &action, &old_[i]);
            // An ignored signal (nohup) stays ignored.
            if (old_[i].sa_handler == SIG_IGN) sigaction(kCaught[i], &old_[i], nullptr);
        }
        sigset_t outside;
        sigemptyset(&outside);
        for (const int number : kCaught) {
            if (number != SIGTTIN && number != SIGTTOU) sigaddset(&outside, number);
        }
        sigprocmask(SIG_BLOCK, &outside, &old_mask_);
    }
    ~CaughtSignals() {
        for (std::size_t i = 0; i < kCaught.size(); ++i) sigaction(kCaught[i], &old_[i], nullptr);
        sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
    }
    // Until there is something to read (true) or a signal came.
    bool wait_readable(int fd) const {
        pollfd wait{fd, POLLIN, 0};
        while (ppoll(&wait, 1, nullptr, &old_mask_) < 0) {
            if (errno != EINTR || caught != 0) return false;
        }
        return true;
    }
    CaughtSignals(const CaughtSignals&) = delete;
    CaughtSignals& operator=(const CaughtSignals&) = delete;

  private:
    std::array<struct sigaction, kCaught.size()> old_{};
    sigset_t old_mask_{};
};

// Echo off (the newline too: it is written by us) for as long as this lives.
class SilentTerminal {
  public:
    explicit SilentTerminal(int fd) : fd_(fd) {
        if (tcgetattr(fd_, &old_) != 0) return;
        termios silent = old_;
        silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL);
        silent.c_lflag |= ICANON | ISIG;
        changed_ = tcsetattr(fd_, TCSAFLUSH, &silent) == 0;
    }
    ~SilentTerminal() {
        if (!changed_) return;
        const int saved = errno;
        while (tcsetattr(fd_, TCSAFLUSH, &old_) != 0 && errno == EINTR) {
        }
        errno = saved;
    }
    SilentTerminal(const SilentTerminal&) = delete;
    SilentTerminal& operator=(const SilentTerminal&) = delete;
    bool works() const { return changed_; }

  private:
    int fd_;
    bool changed_ = false;
    termios old_{};
};

void show(int fd, std::string_view text) {
    (void)!::write(fd, text.data(), text.size());
}

std::unexpected<daemon::Failure> unreadable(std::string_view why) {
    return fail(FailureKind::kPasswordRead, "no password was read (", why,
                "); use --passfile, --stdinpass or --extpass where nobody can type");
}

enum class Line { kWhole, kEnd, kTooLong, kSignal };

Line read_line(int fd, const CaughtSignals& signals, crypto::SecretBytes& line) {
    std::size_t size = 0;
    for (;;) {
        std::byte byte{};
        if (!signals.wait_readable(fd)) return Line::kSignal;
        const ssize_t got = ::read(fd, &byte, 1);
        if (got < 0 && errno == EINTR) {
            if (caught != 0) return Line::kSignal;
            continue;
        }
        if (got <= 0) return Line::kEnd;
        if (byte == std::byte{'\n'}) break;
        if (size == line.size()) return Line::kTooLong;
        line.mutable_bytes()[size++] = byte;
    }
    line.shrink(size);
    return Line::kWhole;
}

Line ask_once(int in, int out, const std::string& question, crypto::SecretBytes& line) {
    const CaughtSignals signals;
    const SilentTerminal silent(in);
    if (!silent.works()) return caught != 0 ? Line::kSignal : Line::kEnd;
    show(out, question);
    const Line outcome = read_line(in, signals, line);
    show(out, "\n");
    return outcome;
}

}  // namespace

Outcome<crypto::SecretBytes> prompt_password(const std::string& question) {
    const lower::Fd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
    const int in = terminal ? terminal.get() : STDIN_FILENO;
    const int out = terminal ? terminal.get() : STDERR_FILENO;
    if (!terminal && isatty(STDIN_FILENO) == 0) return unreadable("there is no terminal");
    for (;;) {
        crypto::SecretBytes line(kMostPasswordBytes);
        switch (ask_once(in, out, question, line)) {
            case Line::kWhole:
                return line;
            case Line::kEnd:
                return unreadable("end of input");
            case Line::kTooLong:
                return unreadable("it is longer than 4096 bytes");
            case Line::kSignal:
                break;
        }
        // The terminal is restored and the old handlers are back: now let it happen.
        const int number = caught;
        if (number == 0) return unreadable("the terminal went away");
        raise(number);
        if (!is_stop(number)) return unreadable("interrupted");
    }
}

Outcome<crypto::SecretBytes> prompt_new_password(const std::string& question) {
    auto first = prompt_password(question + ": ");
    if (!first) return first;
    if (first->empty()) {
        return fail(FailureKind::kPasswordEmpty, "the password is empty; choose one");
    }
    const auto second = prompt_password(question + " (again): ");
    if (!second) return std::unexpected(second.error());
    if (!crypto::equal_constant_time(first->bytes(), second->bytes())) {
        return fail(FailureKind::kPasswordRead,
                    "the two passwords are not the same; start again, nothing was made");
    }
    return first;
}

}  // namespace extencfs::tools
