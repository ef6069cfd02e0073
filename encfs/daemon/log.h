// SPDX-License-Identifier: Apache-2.0
// The daemon's log: levelled, to the terminal, syslog or a file, limited for each kind of message
// so that a damaged tree or a hostile lower directory cannot fill the disk with it.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

#include "encfs/daemon/failure.h"
#include "encfs/lower/fd.h"

namespace extencfs::daemon {

enum class LogLevel : std::uint8_t { kError, kWarning, kNotice, kInfo };

// THREADS: any.
class Log {
  public:
    using Clock = std::function<std::chrono::steady_clock::time_point()>;

    // Starts on stderr. `clock`: for tests.
    explicit Log(Clock clock = {});
    ~Log();
    Log(const Log&) = delete;
    Log& operator=(const Log&) = delete;

    void use_stderr();
    // `tag`: what stands before each message there.
    void use_syslog(std::string tag = "extencfs");
    // Appends to that file, made with mode 0600. ERRORS: kOther.
    Outcome<void> use_file(const std::string& path);
    // Back to the file that use_file opened, after use_stderr. REQUIRES: use_file succeeded.
    void resume_file();
    // Messages above (less important than) `level` are dropped; at first kNotice.
    void set_level(LogLevel level);

    // Writes one line. `kind` groups messages for the limit: at most kBurst in kWindow of each
    // kind, and then one line that counts what was left out. Control characters of the text (lower
    // names come from outside) are written as \xNN.
    template <typename... Args>
    void write(LogLevel level, std::string_view kind, fmt::format_string<Args...> format,
               Args&&... args) {
        write_text(level, kind, fmt::format(format, std::forward<Args>(args)...));
    }
    void write_text(LogLevel level, std::string_view kind, std::string_view text);

    static constexpr unsigned kBurst = 20;
    static constexpr std::chrono::seconds kWindow{10};

  private:
    std::string tag_;  // syslog keeps a pointer to it
    enum class Sink : std::uint8_t { kStderr, kSyslog, kFile };
    struct Budget {
        std::chrono::steady_clock::time_point window_start;
        unsigned written = 0;
        std::uint64_t dropped = 0;
    };
    void emit(LogLevel level, std::string_view text);

    std::mutex mutex_;  // guards everything below
    Clock clock_;
    Sink sink_ = Sink::kStderr;
    lower::Fd file_;
    LogLevel level_ = LogLevel::kNotice;
    std::map<std::string, Budget, std::less<>> budgets_;
};

// `text` with control characters, DEL and backslashes as \xNN, and what turns the direction of
// writing as \uNNNN.
std::string printable(std::string_view text);
// Whether there is something of the latter in it: U+202A to U+202E, U+2066 to U+2069.
bool has_direction_marks(std::string_view text);

}  // namespace extencfs::daemon
