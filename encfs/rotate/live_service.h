// SPDX-License-Identifier: Apache-2.0
// Rotations of keys in a mount's daemon, asked for over its control socket: the conversation with
// 'extencfs key rotate --online', and the thread that works.
//
// The command gives a frame of JSON ({kind, slot, is_box_key, leave_damaged, adds}) and one with
// the secret. The daemon says lines of JSON, each with an `event`: `opened` {slot, resumed,
// notices, ending}, then `survey` {things, bytes} and a `damaged` {path, what} for each such thing.
// Unless it is resumed or failed, the command gives {"go": true, "more": null or {kind, label,
// memory_kib, passes, lanes}} and, with more, its secret. Then `begun` {notices}, `progress`
// {phase, things, bytes} every second, `damaged`, and at the end `done` {things, bytes, damaged,
// notices}; at any time `failed` {kind, sentence}. A command that goes away before it said "go"
// changes nothing; afterwards the work goes on.
#pragma once

#include <memory>

#include "encfs/daemon/live_rotation.h"

namespace extencfs::rotate {

std::unique_ptr<daemon::LiveRotation> make_live_rotation(const daemon::VolumeOnDisk& disk,
                                                         core::Filesystem& fs, daemon::Log& log);

}  // namespace extencfs::rotate
