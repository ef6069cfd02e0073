// SPDX-License-Identifier: Apache-2.0
#include "tools/migrate_report.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "encfs/daemon/log.h"

namespace extencfs::tools {
namespace {

using Json = nlohmann::ordered_json;
using migrate::Phase;

constexpr std::chrono::milliseconds kTurn{200};
constexpr std::chrono::seconds kEvent{1};
constexpr std::chrono::seconds kLine{10};

void print_event(const Json& event) {
    // Names may be any bytes.
    std::printf("%s\n", event.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
    std::fflush(stdout);
}

const char* name_of(Phase phase) {
    switch (phase) {
        case Phase::kSurvey:
            return "survey";
        case Phase::kCopy:
            return "copy";
        case Phase::kLinks:
            return "links";
        case Phase::kDirectories:
            return "directories";
        case Phase::kVerify:
            return "verify";
    }
    return "unknown";
}

const char* name_of(migrate::ProblemKind kind) {
    switch (kind) {
        case migrate::ProblemKind::kName:
            return "name";
        case migrate::ProblemKind::kContents:
            return "unreadable";
        case migrate::ProblemKind::kAttribute:
            return "not-kept";
        case migrate::ProblemKind::kDifferent:
            return "different";
    }
    return "unknown";
}

}  // namespace

std::string words_of_bytes(double bytes) {
    constexpr std::array kUnits{"bytes", "KiB", "MiB", "GiB", "TiB"};
    constexpr double kStep = 1024;
    std::size_t unit = 0;
    for (; bytes >= kStep && unit + 1 < kUnits.size(); ++unit) bytes /= kStep;
    return unit == 0 ? fmt::format("{:.0f} {}", bytes, kUnits[unit])
                     : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string words_of_seconds(double seconds) {
    constexpr std::uint64_t kMinute = 60;
    constexpr std::uint64_t kHour = 3600;
    const auto whole = static_cast<std::uint64_t>(std::lround(seconds));
    if (whole < kMinute) return fmt::format("{} s", whole);
    if (whole < kHour) return fmt::format("{} min {} s", whole / kMinute, whole % kMinute);
    return fmt::format("{} h {} min", whole / kHour, whole % kHour / kMinute);
}

MigrateProgress::MigrateProgress(Style style, const migrate::Progress& progress,
                                 std::uint64_t all_files, std::uint64_t all_bytes)
    : style_(style),
      terminal_(isatty(STDERR_FILENO) != 0),
      progress_(progress),
      all_files_(all_files),
      all_bytes_(all_bytes) {
    // Signals are the main thread's business.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { watch(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

MigrateProgress::~MigrateProgress() {
    {
        const std::lock_guard lock(mutex_);
        done_ = true;
    }
    ended_.notify_one();
    thread_.join();
}

void MigrateProgress::watch() {
    using Clock = std::chrono::steady_clock;
    const auto began = Clock::now();
    const auto pause = style_ == Style::kJson ? std::chrono::milliseconds(kEvent)
                       : terminal_            ? kTurn
                                              : std::chrono::milliseconds(kLine);
    std::unique_lock lock(mutex_);
    while (!ended_.wait_for(lock, pause, [this] { return done_; }))
        show(std::chrono::duration<double>(Clock::now() - began).count());
    if (style_ == Style::kText && terminal_) std::fprintf(stderr, "\r\x1b[K");
}

void MigrateProgress::show(double seconds) {
    if (style_ == Style::kJson) {
        show_event(seconds);
    } else if (terminal_) {
        std::fprintf(stderr, "\r%s\x1b[K", words(seconds).c_str());
    } else {
        std::fprintf(stderr, "extencfs: notice: %s\n", words(seconds).c_str());
    }
}

void MigrateProgress::show_event(double seconds) const {
    print_event({{"event", "progress"},
                 {"phase", name_of(progress_.phase)},
                 {"files", progress_.files.load()},
                 {"bytes", progress_.bytes.load()},
                 {"all_files", all_files_},
                 {"all_bytes", all_bytes_},
                 {"seconds", seconds}});
}

std::string MigrateProgress::words(double seconds) const {
    const std::uint64_t files = progress_.files;
    const std::uint64_t bytes = progress_.bytes;
    const double rate = seconds > 0 ? static_cast<double>(bytes) / seconds : 0;
    std::string text = name_of(progress_.phase);
    if (all_files_ == 0) return fmt::format("{}: {} files", text, files);
    // A small file costs about what so many bytes cost.
    constexpr double kFileBytes = 65536;
    const auto weight = [](std::uint64_t of_files, std::uint64_t of_bytes) {
        return static_cast<double>(of_files) * kFileBytes + static_cast<double>(of_bytes);
    };
    const double part = std::clamp(weight(files, bytes) / weight(all_files_, all_bytes_), 0.0, 1.0);
    constexpr int kWidth = 24;
    const int full = static_cast<int>(part * kWidth);
    text += fmt::format(" [{:=<{}}{:>{}}] {:3.0f} %  {}/{} files  {}  {}/s", "", full, "",
                        kWidth - full, part * 100, files, all_files_,
                        words_of_bytes(static_cast<double>(bytes)), words_of_bytes(rate));
    if (part > 0.01) text += "  " + words_of_seconds(seconds * (1 - part) / part) + " left";
    return text;
}

void show_survey(Style style, const migrate::Survey& survey, const Estimate& estimate) {
    if (style == Style::kJson) {
        print_event({{"event", "survey"},
                     {"files", survey.files},
                     {"directories", survey.directories},
                     {"bytes", survey.bytes},
                     {"needed_bytes", survey.needed_bytes},
                     {"free_bytes", estimate.free_bytes},
                     {"seconds", estimate.seconds}});
        return;
    }
    std::printf("%llu files and %llu directories with %s.\n",
                static_cast<unsigned long long>(survey.files),
                static_cast<unsigned long long>(survey.directories),
                words_of_bytes(static_cast<double>(survey.bytes)).c_str());
    std::printf("Takes about %s of %s free, and about %s.\n",
                words_of_bytes(static_cast<double>(survey.needed_bytes)).c_str(),
                words_of_bytes(static_cast<double>(estimate.free_bytes)).c_str(),
                words_of_seconds(estimate.seconds).c_str());
    std::fflush(stdout);
}

void show_problems(Style style, const std::vector<migrate::Problem>& problems) {
    for (const migrate::Problem& problem : problems) {
        if (style == Style::kJson) {
            print_event({{"event", "problem"},
                         {"kind", name_of(problem.kind)},
                         {"path", problem.path},
                         {"what", problem.what}});
        } else {
            const std::string path = problem.path.empty() ? "/" : problem.path;
            std::fprintf(stderr, "extencfs: warning: %s: %s\n", daemon::printable(path).c_str(),
                         daemon::printable(problem.what).c_str());
        }
    }
}

void show_summary(Style style, const Summary& summary, const std::string& new_path) {
    if (style == Style::kJson) {
        print_event({{"event", "done"},
                     {"files", summary.files},
                     {"skipped", summary.skipped},
                     {"bytes", summary.bytes},
                     {"seconds", summary.seconds},
                     {"missing", summary.missing},
                     {"verified", summary.verified},
                     {"verified_files", summary.check.files},
                     {"verified_bytes", summary.check.bytes},
                     {"differences", summary.check.differences}});
        return;
    }
    std::printf("Copied %llu files (%llu of them before), %s, in %s; %llu problems.\n",
                static_cast<unsigned long long>(summary.files),
                static_cast<unsigned long long>(summary.skipped),
                words_of_bytes(static_cast<double>(summary.bytes)).c_str(),
                words_of_seconds(summary.seconds).c_str(),
                static_cast<unsigned long long>(summary.missing));
    if (summary.verified) {
        std::printf(
            "Verified %llu files and %llu directories, %s of contents, attributes and hard links: "
            "%llu differences.\n",
            static_cast<unsigned long long>(summary.check.files),
            static_cast<unsigned long long>(summary.check.directories),
            words_of_bytes(static_cast<double>(summary.check.bytes)).c_str(),
            static_cast<unsigned long long>(summary.check.differences));
    } else {
        std::printf("Not verified: --verify reads everything back and compares.\n");
    }
    std::printf(
        "Look at it:  extencfs mount --ro %s MOUNTPOINT\n"
        "Keep it:     extencfs migrate --finish %s\n"
        "Take back:   extencfs migrate --rollback %s\n",
        new_path.c_str(), new_path.c_str(), new_path.c_str());
}

}  // namespace extencfs::tools
