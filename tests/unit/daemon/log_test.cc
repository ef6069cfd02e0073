// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/log.h"

#include <algorithm>

#include "tests/unit/daemon/temp_dir.h"

using namespace extencfs::daemon;
using extencfs::test::read_file;
using extencfs::test::TempDir;

namespace {

std::size_t lines(const std::string& text) {
    return static_cast<std::size_t>(std::ranges::count(text, '\n'));
}

}  // namespace

TEST_CASE("each kind of message has its own limit, and says what it left out") {
    TempDir dir;
    auto now = std::chrono::steady_clock::time_point{};
    Log log([&now] { return now; });
    REQUIRE(log.use_file(dir / "log"));
    for (unsigned i = 0; i < Log::kBurst + 7; ++i)
        log.write(LogLevel::kError, "damage", "no {}", i);
    CHECK(lines(read_file(dir / "log")) == Log::kBurst);
    log.write(LogLevel::kError, "other", "still told");
    CHECK(lines(read_file(dir / "log")) == Log::kBurst + 1);
    now += Log::kWindow;
    log.write(LogLevel::kError, "damage", "again");
    const std::string text = read_file(dir / "log");
    CHECK(lines(text) == Log::kBurst + 3);
    CHECK(text.find("7 more messages of the kind 'damage'") != std::string::npos);
}

TEST_CASE("levels and control characters") {
    TempDir dir;
    Log log;
    REQUIRE(log.use_file(dir / "log"));
    log.write(LogLevel::kInfo, "a", "not this");
    log.write(LogLevel::kWarning, "a", "name {}", "a\nerror: forged\x1b[31m\\");
    const std::string text = read_file(dir / "log");
    CHECK(lines(text) == 1);
    CHECK(text.find("warning: name a\\x0aerror: forged\\x1b[31m\\x5c") != std::string::npos);
    log.set_level(LogLevel::kInfo);
    log.write(LogLevel::kInfo, "a", "this");
    CHECK(lines(read_file(dir / "log")) == 2);
}

TEST_CASE("what turns the direction of writing is shown as what it is") {
    CHECK(printable("a\u202eb\u2066") == "a\\u202eb\\u2066");
    CHECK(printable("\u202a\u2069") == "\\u202a\\u2069");
    // Its neighbours, and what is cut short, are let be.
    for (const char* text : {"\u2029\u202f", "\u2065\u206a", "\xe2\x80", "\xe2", "\u05d0\u0627"}) {
        CHECK(printable(text) == text);
        CHECK_FALSE(has_direction_marks(text));
    }
    CHECK(has_direction_marks("label \u202d"));
}

TEST_CASE("a log file that cannot be opened is told") {
    TempDir dir;
    Log log;
    CHECK_FALSE(log.use_file(dir / "no/such/place"));
}
