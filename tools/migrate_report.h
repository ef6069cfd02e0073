// SPDX-License-Identifier: Apache-2.0
// What `extencfs migrate` shows: a bar on a terminal, lines otherwise, or JSON events.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "encfs/migrate/in_place_copy.h"
#include "encfs/migrate/report.h"
#include "encfs/migrate/survey.h"
#include "encfs/migrate/verify.h"
#include "tools/exit_codes.h"

namespace extencfs::tools {

enum class Style : std::uint8_t { kText, kJson };

// "1.5 GiB"; "2 h 3 min".
std::string words_of_bytes(double bytes);
std::string words_of_seconds(double seconds);

// Shows the progress of one phase while it lives: on stderr on a terminal, else a line every ten
// seconds; with JSON an event every second on stdout. It has a thread.
class MigrateProgress {
  public:
    // Totals of 0: not known yet.
    MigrateProgress(Style style, const migrate::Progress& progress, std::uint64_t all_files,
                    std::uint64_t all_bytes);
    ~MigrateProgress();
    MigrateProgress(const MigrateProgress&) = delete;
    MigrateProgress& operator=(const MigrateProgress&) = delete;

  private:
    void watch();
    void show(double seconds);
    void show_event(double seconds) const;
    std::string words(double seconds) const;

    Style style_;
    bool terminal_;
    const migrate::Progress& progress_;
    std::uint64_t all_files_;
    std::uint64_t all_bytes_;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool done_ = false;  // guarded by mutex_
    std::thread thread_;
};

struct Estimate {
    double seconds = 0;
    std::uint64_t free_bytes = 0;  // 0: not known
};

void show_survey(Style style, const migrate::Survey& survey, const Estimate& estimate);
// By name, on stderr; with JSON as events.
void show_problems(Style style, const std::vector<migrate::Problem>& problems);

struct Summary {
    std::uint64_t files = 0;    // with those that an earlier run copied
    std::uint64_t skipped = 0;  // those
    std::uint64_t bytes = 0;
    double seconds = 0;
    std::uint64_t missing = 0;
    bool verified = false;
    migrate::Verified check;
};
void show_summary(Style style, const Summary& summary, const std::string& new_path);

// `config`: the configuration of what is left in the old format.
struct InPlaceSummary {
    migrate::InPlaceCounts counts;
    bool verified = false;
    std::uint64_t missing = 0;
    double seconds = 0;
    std::uint64_t bytes = 0;
};
void show_in_place_summary(Style style, const InPlaceSummary& summary, const std::string& path,
                           const std::string& config);
// By a run that had nothing to convert any more. `missing`: things left in the old format.
void show_in_place_complete(Style style, std::uint64_t missing, const std::string& path,
                            const std::string& config);

// What a migration that told of these ends with.
ExitCode migrate_verdict(const std::vector<migrate::Problem>& problems);

}  // namespace extencfs::tools
