// SPDX-License-Identifier: Apache-2.0
// What a migration tells while it runs, and at its end.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "encfs/core/error.h"
#include "encfs/core/types.h"
#include "encfs/daemon/failure.h"

namespace extencfs::migrate {

enum class ProblemKind : std::uint8_t {
    kName,       // a lower name that is none of the old volume's, or cannot be decoded
    kContents,   // something whose bytes or attributes cannot be read
    kAttribute,  // it was copied, but the new place cannot take an attribute, or its kind
    kDifferent,  // the check found the two volumes to differ
};

struct Problem {
    ProblemKind kind;
    std::string path;  // below the volume's root; the last part of a kName is the lower name
    std::string what;  // "block checksum or authentication failed"
};

// "damaged: authentication failed", or the text of its errno.
std::string words_of(const core::Error& error);

// THREADS: any, in parallel.
class Problems {
  public:
    void add(ProblemKind kind, std::string path, std::string what) {
        const std::lock_guard lock(mutex_);
        all_.push_back({kind, std::move(path), std::move(what)});
    }
    void add_all(const Problems& more) {
        for (Problem& problem : more.all()) add(problem.kind, problem.path, problem.what);
    }
    std::vector<Problem> all() const {
        const std::lock_guard lock(mutex_);
        return all_;
    }
    std::size_t count() const {
        const std::lock_guard lock(mutex_);
        return all_.size();
    }

  private:
    mutable std::mutex mutex_;
    std::vector<Problem> all_;
};

enum class Phase : std::uint8_t { kSurvey, kCopy, kLinks, kDirectories, kVerify };

// Counts up while a phase runs. THREADS: any, in parallel.
struct Progress {
    std::atomic<Phase> phase{Phase::kSurvey};
    std::atomic<std::uint64_t> files{0};    // everything but directories
    std::atomic<std::uint64_t> bytes{0};    // of contents, holes among them
    std::atomic<std::uint64_t> skipped{0};  // of `files`: done by an earlier run
    void begin(Phase next) {
        phase = next;
        files = 0;
        bytes = 0;
        skipped = 0;
    }
};

// The first failure that ends everything. THREADS: any, in parallel.
class Stop {
  public:
    void because(daemon::Failure failure) {
        const std::lock_guard lock(mutex_);
        if (!failure_) failure_ = std::move(failure);
        stopped_ = true;
    }
    bool stopped() const { return stopped_; }
    // As the outcome of what ends with it.
    daemon::Outcome<void> outcome() const {
        const std::lock_guard lock(mutex_);
        if (failure_) return std::unexpected(*failure_);
        return {};
    }

  private:
    mutable std::mutex mutex_;
    std::optional<daemon::Failure> failure_;
    std::atomic<bool> stopped_{false};
};

// Where the old volume's Options::on_name_left_out puts what listings leave out, until it is asked
// for. THREADS: one lists at a time.
class LeftOutNames {
  public:
    using Why = core::Options::LeftOut;
    void add(core::NodeId directory, std::string_view lower_name, Why why);
    std::vector<std::pair<std::string, Why>> take() { return std::exchange(names_, {}); }

  private:
    std::vector<std::pair<std::string, Why>> names_;
};

}  // namespace extencfs::migrate
