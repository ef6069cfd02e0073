// SPDX-License-Identifier: Apache-2.0
// Does the steps of a move plan, or takes them back. Internal to legacy_move.cc and its recovery.
#pragma once

#include <functional>
#include <utility>
#include <vector>

#include "encfs/core/volume_format.h"
#include "encfs/legacy/move_plan.h"

namespace extencfs::core {

enum class MoveDirection { kForward, kBack };

// Whether the renamed thing itself lies at its old place or at its new one.
enum class MoveTop { kOld, kNew };

// What is done around each lower call that changes something; `step` is none for a directory's
// times.
class MoveObserver {
  public:
    using Act = std::function<lower::Result<void>()>;
    virtual ~MoveObserver() = default;
    virtual lower::Result<void> name(std::size_t step, MoveDirection direction, const Act& act) = 0;
    virtual lower::Result<void> header(std::size_t step, const Act& act) = 0;
    virtual lower::Result<void> times(std::size_t dir, const Act& act) = 0;
};

// THREADS: one.
class MoveRunner {
  public:
    MoveRunner(lower::LowerFs& lower, int rootfd, const legacy::MovePlan& plan, MoveTop top,
               MoveObserver& observer)
        : lower_(lower), rootfd_(rootfd), plan_(plan), top_(top), observer_(observer) {}

    // Each step that is not done yet; those that are done are left alone, and so is what is not
    // there. ERRORS: of the first step that could not be done.
    lower::Result<void> run(MoveDirection direction);

  private:
    lower::Result<int> directory(std::uint32_t index);
    lower::Result<lower::Fd> open_directory(std::uint32_t index, int parent);
    lower::Result<lower::Fd> open_path(const std::vector<std::string>& path);
    lower::Result<void> do_step(std::size_t index, MoveDirection direction);
    lower::Result<void> write_header(const legacy::MoveStep& step, int dirfd,
                                     MoveDirection direction);
    lower::Result<void> rename(std::size_t index, int dirfd, MoveDirection direction);
    lower::Result<void> keep_times();

    lower::LowerFs& lower_;
    int rootfd_;
    const legacy::MovePlan& plan_;
    MoveTop top_;
    MoveObserver& observer_;
    // The directories that are open, each in the one before.
    std::vector<std::pair<std::uint32_t, lower::Fd>> open_;
};

// Opens a file of the user's own whatever its mode says.
lower::Result<lower::Fd> open_own_file(lower::LowerFs& lower, int dirfd, const std::string& entry,
                                       int flags);

}  // namespace extencfs::core
