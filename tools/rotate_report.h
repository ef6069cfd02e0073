// SPDX-License-Identifier: Apache-2.0
// What `extencfs key rotate` shows: a line on a terminal, lines otherwise, or JSON events.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "encfs/rotate/rotation.h"
#include "tools/migrate_report.h"

namespace extencfs::tools {

// Shows how far a rotation is while it lives: on stderr on a terminal, else a line every ten
// seconds; with JSON an event every second on stdout. It has a thread.
class RotateProgress {
  public:
    // `all`: zeros while it is not known yet.
    RotateProgress(Style style, const rotate::Progress& progress, rotate::Amount all);
    ~RotateProgress();
    RotateProgress(const RotateProgress&) = delete;
    RotateProgress& operator=(const RotateProgress&) = delete;

  private:
    void watch();
    void show();

    Style style_;
    bool terminal_;
    const rotate::Progress& progress_;
    rotate::Amount all_;
    std::mutex mutex_;
    std::condition_variable ended_;
    bool done_ = false;  // guarded by mutex_
    std::thread thread_;
};

// `ending`: the slots that open the volume no more afterwards.
void show_rotation(Style style, const rotate::Amount& amount,
                   const std::vector<volume::KeySlot>& ending);
// By lower name, on stderr; with JSON as events.
void show_damages(Style style, const std::vector<rotate::Damaged>& damages);
void show_rotated(Style style, const rotate::Amount& amount, double seconds, std::size_t damaged);

}  // namespace extencfs::tools
