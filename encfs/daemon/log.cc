// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/log.h"

#include <fcntl.h>
#include <syslog.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>
#include <iterator>
#include <optional>

namespace extencfs::daemon {
namespace {

int syslog_priority(LogLevel level) {
    switch (level) {
        case LogLevel::kError:
            return LOG_ERR;
        case LogLevel::kWarning:
            return LOG_WARNING;
        case LogLevel::kNotice:
            return LOG_NOTICE;
        case LogLevel::kInfo:
            return LOG_INFO;
    }
    return LOG_ERR;
}

const char* level_word(LogLevel level) {
    switch (level) {
        case LogLevel::kError:
            return "error: ";
        case LogLevel::kWarning:
            return "warning: ";
        case LogLevel::kNotice:
        case LogLevel::kInfo:
            return "";
    }
    return "";
}

// One write(2), so that lines of several daemons in one file do not mix. A log that cannot be
// written is no reason to fail a request.
void write_line(int fd, const std::string& line) {
    while (::write(fd, line.data(), line.size()) < 0 && errno == EINTR) {
    }
}

std::string utc_time() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900,
                       parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

constexpr std::size_t kMarkBytes = 3;

// The code point that `text` begins with, if it is one that turns the direction of writing.
std::optional<unsigned> direction_mark(std::string_view text) {
    if (text.size() < kMarkBytes || text[0] != '\xe2') return std::nullopt;
    const unsigned low = static_cast<unsigned char>(text[2]);
    if (text[1] == '\x80' && low >= 0xaa && low <= 0xae) return 0x2000 + (low - 0x80);
    if (text[1] == '\x81' && low >= 0xa6 && low <= 0xa9) return 0x2040 + (low - 0x80);
    return std::nullopt;
}

}  // namespace

bool has_direction_marks(std::string_view text) {
    for (; !text.empty(); text.remove_prefix(1)) {
        if (direction_mark(text)) return true;
    }
    return false;
}

std::string printable(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (; !text.empty(); text.remove_prefix(1)) {
        if (const auto mark = direction_mark(text)) {
            fmt::format_to(std::back_inserter(out), "\\u{:04x}", *mark);
            text.remove_prefix(kMarkBytes - 1);
            continue;
        }
        const char c = text.front();
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x20 || byte == 0x7f || byte == '\\') {
            fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
        } else {
            out.push_back(c);
        }
    }
    return out;
}

Log::Log(Clock clock) : clock_(std::move(clock)) {
    if (!clock_) clock_ = [] { return std::chrono::steady_clock::now(); };
}

Log::~Log() {
    if (sink_ == Sink::kSyslog) closelog();
}

void Log::use_stderr() {
    const std::lock_guard lock(mutex_);
    sink_ = Sink::kStderr;
}

void Log::use_syslog(std::string tag) {
    const std::lock_guard lock(mutex_);
    tag_ = std::move(tag);
    openlog(tag_.c_str(), LOG_PID, LOG_DAEMON);
    sink_ = Sink::kSyslog;
}

Outcome<void> Log::use_file(const std::string& path) {
    lower::Fd file(
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600));
    if (!file) {
        return fail(FailureKind::kOther, "the log file ", path, " cannot be opened (",
                    errno_text(errno), "); give another with --log");
    }
    const std::lock_guard lock(mutex_);
    file_ = std::move(file);
    sink_ = Sink::kFile;
    return {};
}

void Log::resume_file() {
    const std::lock_guard lock(mutex_);
    sink_ = Sink::kFile;
}

void Log::set_level(LogLevel level) {
    const std::lock_guard lock(mutex_);
    level_ = level;
}

void Log::write_text(LogLevel level, std::string_view kind, std::string_view text) {
    const std::lock_guard lock(mutex_);
    if (level > level_) return;
    const auto now = clock_();
    auto it = budgets_.find(kind);
    if (it == budgets_.end()) it = budgets_.emplace(std::string(kind), Budget{now}).first;
    Budget& budget = it->second;
    if (now - budget.window_start >= kWindow) {
        if (budget.dropped != 0) {
            emit(level, fmt::format("{} more messages of the kind '{}' were left out",
                                    budget.dropped, kind));
        }
        budget = Budget{now};
    }
    if (budget.written == kBurst) {
        ++budget.dropped;
        return;
    }
    ++budget.written;
    emit(level, text);
}

void Log::emit(LogLevel level, std::string_view text) {
    const std::string clean = printable(text);
    switch (sink_) {
        case Sink::kStderr:
            write_line(STDERR_FILENO, fmt::format("extencfs: {}{}\n", level_word(level), clean));
            break;
        case Sink::kSyslog:
            syslog(syslog_priority(level), "%s%s", level_word(level), clean.c_str());
            break;
        case Sink::kFile:
            write_line(file_.get(), fmt::format("{} extencfs[{}]: {}{}\n", utc_time(), getpid(),
                                                level_word(level), clean));
            break;
    }
}

}  // namespace extencfs::daemon
