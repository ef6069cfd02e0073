// SPDX-License-Identifier: Apache-2.0
#include "encfs/token/program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "encfs/lower/fd.h"

namespace extencfs::token {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMostWords = 4096;  // of standard error that is looked at

std::unexpected<Error> failed(ErrorKind kind, std::string sentence) {
    return std::unexpected(Error{kind, std::move(sentence)});
}

struct Pipe {
    lower::Fd ours;
    lower::Fd theirs;

    explicit operator bool() const { return ours && theirs; }
    static Pipe to_read() {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) != 0) return {};
        return {lower::Fd(ends[0]), lower::Fd(ends[1])};
    }
    // A socket, since writing to a pipe that nobody reads is a signal.
    static Pipe to_write() {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return {};
        return {lower::Fd(ends[0]), lower::Fd(ends[1])};
    }
};

// A child in a process group of its own, which ends with this.
class Child {
  public:
    explicit Child(pid_t pid) : pid_(pid) {}
    ~Child() {
        if (pid_ <= 0) return;
        kill(-pid_, SIGKILL);
        (void)wait();
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    // What it ended with, waiting until `end`; -1 for a signal; nothing when it goes on.
    Result<int> ended(Clock::time_point end) {
        // waitpid(2) has no time limit, and a program that closed its output is about to end.
        for (;;) {
            int status = 0;
            const pid_t got = waitpid(pid_, &status, WNOHANG);
            if (got == pid_ || (got < 0 && errno != EINTR)) {
                kill(-pid_, SIGKILL);  // what it started, if anything
                pid_ = -1;
                return got > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
            }
            if (Clock::now() >= end) return failed(ErrorKind::kTimeout, "");
            usleep(1000);
        }
    }

  private:
    int wait() const {
        int status = 0;
        while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        return status;
    }
    pid_t pid_;
};

pid_t start(const std::string& program, const std::vector<std::string>& words, int in, int out,
            int err) {
    std::vector<std::string> copies{program};
    copies.insert(copies.end(), words.begin(), words.end());
    std::vector<char*> argv;
    argv.reserve(copies.size() + 1);
    for (std::string& word : copies) argv.push_back(word.data());
    argv.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, err, STDERR_FILENO);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    pid_t child = -1;
    const int error =
        posix_spawn(&child, program.c_str(), &actions, &attributes, argv.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    errno = error;
    return error == 0 ? child : -1;
}

std::string last_line(std::string_view text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '.')) text.remove_suffix(1);
    std::string line(text.substr(text.rfind('\n') + 1));
    std::ranges::replace_if(
        line, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }, '?');
    return line;
}

// Where what one descriptor gives goes to.
struct Sink {
    lower::Fd& from;
    MutBytes into;
    std::size_t size = 0;
    bool overflow = false;

    // False when it has ended.
    bool take() {
        std::byte spill{};
        const MutBytes room = size < into.size() ? into.subspan(size) : MutBytes(&spill, 1);
        const ssize_t got = ::read(from.get(), room.data(), room.size());
        if (got < 0 && errno == EINTR) return true;
        if (got <= 0) return false;
        if (size == into.size()) {
            overflow = true;
            return true;
        }
        size += static_cast<std::size_t>(got);
        return true;
    }
};

bool send_all(int fd, Bytes bytes) {
    while (!bytes.empty()) {
        // Never blocks for what is short enough for the socket's buffer, which a secret is.
        const ssize_t put = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return false;
        bytes = bytes.subspan(static_cast<std::size_t>(put));
    }
    return true;
}

// Reads both until they end. False when `end` came first.
bool read_both(Sink& out, Sink& err, Clock::time_point end) {
    std::array<Sink*, 2> sinks{&out, &err};
    std::array<bool, 2> open{true, true};
    while (open[0] || open[1]) {
        std::array<pollfd, 2> polled{};
        for (std::size_t i = 0; i < 2; ++i) {
            polled[i] = {open[i] ? sinks[i]->from.get() : -1, POLLIN, 0};
        }
        const auto left =
            std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
        if (left <= 0) return false;
        const int ready = ::poll(polled.data(), polled.size(), static_cast<int>(left));
        if (ready < 0 && errno != EINTR) return false;
        if (ready <= 0) continue;
        for (std::size_t i = 0; i < 2; ++i) {
            if (polled[i].revents != 0) open[i] = sinks[i]->take();
        }
        if (out.overflow) return true;
    }
    return true;
}

}  // namespace

Result<Ran> run_program(const std::string& program, const std::vector<std::string>& words,
                        Bytes input, std::size_t most, std::chrono::milliseconds patience) {
    const auto end = Clock::now() + patience;
    Pipe in = Pipe::to_write();
    Pipe out = Pipe::to_read();
    Pipe err = Pipe::to_read();
    if (!in || !out || !err) {
        return failed(ErrorKind::kFailed,
                      "no pipe can be made; close other programs and try again");
    }
    const pid_t pid = start(program, words, in.theirs.get(), out.theirs.get(), err.theirs.get());
    if (pid < 0) {
        return failed(ErrorKind::kAbsent, program + " cannot be run (" +
                                              std::string(strerrordesc_np(errno)) +
                                              "); install it, or use another key");
    }
    Child child(pid);
    for (Pipe* pipe : {&in, &out, &err}) pipe->theirs.reset();
    (void)send_all(in.ours.get(), input);  // a program that does not take it says why itself
    in.ours.reset();
    Ran ran;
    ran.output = crypto::SecretBytes(most);
    std::array<std::byte, kMostWords> words_of_error;
    Sink output{out.ours, ran.output.mutable_bytes()};
    Sink errors{err.ours, words_of_error};
    const auto late = [&] {
        return failed(ErrorKind::kTimeout,
                      program + " gave no answer in " + std::to_string(patience.count() / 1000) +
                          " seconds and was ended; run it by itself to see why");
    };
    if (!read_both(output, errors, end)) return late();
    if (output.overflow) {
        return failed(ErrorKind::kFailed,
                      program + " gave more than was asked for; run it by itself to see why");
    }
    const auto status = child.ended(end);
    if (!status) return late();
    ran.status = *status;
    ran.output.shrink(output.size);
    ran.last_words = last_line(text_of(Bytes(words_of_error).first(errors.size)));
    return ran;
}

}  // namespace extencfs::token
