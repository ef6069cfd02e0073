// SPDX-License-Identifier: Apache-2.0
// Runs every conformance case in a directory of the mount (--upper) and in one of the lower file
// system (--lower) and compares what the two saw. Exit code 0: the same but for known_differences;
// 1: different; 2: could not be run. posix_conformance.py makes the mounts.
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/live/posix/known_differences.h"
#include "tests/live/posix/trace.h"

namespace extencfs::conformance {
namespace {

constexpr int kCaseSeconds = 60;

struct Options {
    std::string upper;
    std::string lower;
    std::string only;
    bool list = false;
    bool verbose = false;
};

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> lines;
    std::size_t from = 0;
    for (std::size_t at; (at = text.find('\n', from)) != std::string::npos; from = at + 1) {
        lines.push_back(text.substr(from, at - from));
    }
    if (from < text.size()) lines.push_back(text.substr(from));
    return lines;
}

[[noreturn]] void run_in_child(const Case& one, const std::string& dir, int out_fd) {
    ::setpgid(0, 0);  // so that a time-out ends the case's own children too
    ::signal(SIGPIPE, SIG_IGN);
    ::umask(022);
    const Trace trace(out_fd);
    if (::mkdir(dir.c_str(), 0755) < 0 || ::chdir(dir.c_str()) < 0) {
        trace.print("setup failed: {}", errno_name(errno));
        _exit(1);
    }
    one.run(trace);
    _exit(0);
}

std::string how_it_ended(int status) {
    if (WIFSIGNALED(status)) return fmt::format("the case ended by signal {}\n", WTERMSIG(status));
    return WEXITSTATUS(status) == 0 ? ""
                                    : fmt::format("the case ended with {}\n", WEXITSTATUS(status));
}

// Each run in a process of its own: umask, ids, working directory and crashes stay there.
std::vector<std::string> run(const Case& one, const std::string& dir) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return {"pipe: " + errno_name(errno)};
    const pid_t pid = ::fork();
    if (pid < 0) return {"fork: " + errno_name(errno)};
    if (pid == 0) run_in_child(one, dir, ends[1]);
    ::close(ends[1]);
    std::string text;
    const time_t deadline = ::time(nullptr) + kCaseSeconds;
    bool timed_out = false;
    char buffer[8192];
    for (;;) {
        pollfd wait{ends[0], POLLIN, 0};
        const int ready = ::poll(&wait, 1, 500);
        if (ready > 0) {
            const ssize_t got = ::read(ends[0], buffer, sizeof buffer);
            if (got <= 0) break;
            text.append(buffer, static_cast<std::size_t>(got));
        }
        if (::time(nullptr) > deadline) {
            timed_out = true;
            ::kill(-pid, SIGKILL);
            break;
        }
    }
    ::close(ends[0]);
    int status = 0;
    ::waitpid(pid, &status, 0);
    if (timed_out) text += fmt::format("the case did not end in {} s\n", kCaseSeconds);
    text += how_it_ended(status);
    return split(text);
}

struct Verdict {
    int different = 0;
    int known = 0;
};

Verdict compare(const Case& one, const std::vector<std::string>& upper,
                const std::vector<std::string>& lower) {
    constexpr int kShown = 12;
    Verdict verdict;
    const std::size_t lines = std::max(upper.size(), lower.size());
    for (std::size_t i = 0; i < lines; i++) {
        const std::string u = i < upper.size() ? upper[i] : "(nothing)";
        const std::string l = i < lower.size() ? lower[i] : "(nothing)";
        // Equal but wrong on both sides is wrong too: a check holds anywhere, a setup works.
        const bool bad = u.find("FAILS") != std::string::npos ||
                         u.find("setup failed") != std::string::npos ||
                         u.rfind("the case ", 0) == 0;
        if (u == l && !bad) continue;
        if (const char* reason = known_difference(one.name, u, l)) {
            verdict.known++;
            fmt::print("  known: {}: {} | lower: {} ({})\n", one.name, u, l, reason);
            continue;
        }
        if (verdict.different++ < kShown) {
            fmt::print("  {} line {}:\n    mount: {:.300}\n    lower: {:.300}\n", one.name, i + 1,
                       u, l);
        }
    }
    if (verdict.different > kShown) fmt::print("  ... {} lines differ\n", verdict.different);
    return verdict;
}

// Why a case cannot be run here; null if it can.
const char* obstacle(Needs needs) {
    switch (needs) {
        case Needs::kNothing:
            return nullptr;
        case Needs::kRoot:
            return ::geteuid() == 0 ? nullptr : "needs root";
        case Needs::kTmpfile:
#ifdef EXTENCFS_LIBFUSE_BUNDLED
            return nullptr;
#else
            return "the libfuse that extencfs was built with has no O_TMPFILE";
#endif
    }
    return nullptr;
}

int run_all(const Options& options) {
    int bad = 0;
    int ran = 0;
    int known = 0;
    std::vector<std::string> failed;
    for (const Case& one : all_cases()) {
        if (!options.only.empty() && one.name.rfind(options.only, 0) != 0) continue;
        if (const char* reason = obstacle(one.needs)) {
            fmt::print("skipped {}: {}\n", one.name, reason);
            continue;
        }
        const auto upper = run(one, options.upper + "/" + one.name);
        const auto lower = run(one, options.lower + "/" + one.name);
        const Verdict verdict = compare(one, upper, lower);
        if (options.verbose) {
            for (const std::string& text : upper) fmt::print("    | {}\n", text);
        }
        fmt::print("{} {} ({} lines)\n", verdict.different ? "FAIL" : "ok  ", one.name,
                   upper.size());
        ::fflush(stdout);
        ran++;
        known += verdict.known;
        if (verdict.different) {
            bad++;
            failed.push_back(one.name);
        }
    }
    fmt::print("{} cases, {} differ, {} known differences\n", ran, bad, known);
    if (bad) fmt::print("different: {}\n", fmt::join(failed, " "));
    if (ran == 0) return 2;
    return bad ? 1 : 0;
}

}  // namespace
}  // namespace extencfs::conformance

int main(int argc, char** argv) {
    using namespace extencfs::conformance;
    Options options;
    for (int i = 1; i < argc; i++) {
        const std::string arg = argv[i];
        const bool more = i + 1 < argc;
        if (arg == "--upper" && more)
            options.upper = argv[++i];
        else if (arg == "--lower" && more)
            options.lower = argv[++i];
        else if (arg == "--case" && more)
            options.only = argv[++i];
        else if (arg == "--list")
            options.list = true;
        else if (arg == "--verbose")
            options.verbose = true;
        else {
            fmt::print(stderr, "unknown argument {}\n", arg);
            return 2;
        }
    }
    auto& cases = all_cases();
    std::sort(cases.begin(), cases.end(),
              [](const Case& a, const Case& b) { return a.name < b.name; });
    if (options.list) {
        for (const Case& one : cases) fmt::print("{}\n", one.name);
        return 0;
    }
    if (options.upper.empty() || options.lower.empty()) {
        fmt::print(stderr, "usage: posix_conformance --upper DIR --lower DIR [--case PREFIX]\n");
        return 2;
    }
    return run_all(options);
}
