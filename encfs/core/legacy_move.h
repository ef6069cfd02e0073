// SPDX-License-Identifier: Apache-2.0
// A rename that changes lower names or headers below what is renamed, in an EncFS 1.x volume: with
// a journal, so that it is done or undone whole whenever it is cut short.
//
// Order: the journal is durable before the first step; the steps, what lies deepest first; the name
// itself, renamed by whoever called; everything durable; the journal goes. Whether the name was
// renamed decides what a recovery does: it finishes the steps, or takes them back. Both may start
// from any part of them: each step is done where it is not done yet, whatever the others are.
#pragma once

#include <memory>

#include "encfs/core/legacy_move_run.h"
#include "encfs/core/volume_format.h"
#include "encfs/legacy/contents.h"
#include "encfs/legacy/move_plan.h"
#include "encfs/legacy/names.h"

namespace extencfs::core {

// In the root. "." is in no alphabet of names.
inline constexpr const char* kMoveJournal = "extencfs.move";

// What a move is made with; all of it outlives the move.
struct MoveTools {
    lower::LowerFs& lower;
    const crypto::LegacyKey& key;
    const legacy::NameCodec& names;
    const legacy::ContentCodec& contents;
    bool files;  // headers depend on paths
    DirContext (*context_of)(std::uint64_t chain);
};

class LegacyMove final : public PathMove {
  public:
    // `chain`, `new_chain`: of the directories before and after. nullptr where nothing but the name
    // changes.
    static Result<std::unique_ptr<PathMove>> begin(const MoveTools& tools, const Moving& moving,
                                                   std::uint64_t chain, std::uint64_t new_chain,
                                                   PathWatch& watch);
    // What is not finished is taken back.
    ~LegacyMove() override;
    LegacyMove(const LegacyMove&) = delete;
    LegacyMove& operator=(const LegacyMove&) = delete;

    void finish() override;

  private:
    struct Known;  // of what is being moved, beside the plan
    class Planner;
    LegacyMove(const MoveTools& tools, const Moving& moving, PathWatch& watch);
    Result<void> plan(const Moving& moving, std::uint64_t chain, std::uint64_t new_chain);
    lower::Result<void> run(MoveDirection direction);
    void take_back();
    Result<void> make_journal();
    void drop_journal();

    MoveTools tools_;
    int rootfd_;
    PathWatch& watch_;
    legacy::MovePlan plan_;
    std::unique_ptr<Known> known_;
    struct stat root_ {};    // before the journal
    bool journal_ = false;   // is there
    bool finished_ = false;  // nothing is to be taken back
};

// The journal of `plan`, durable. ERRORS: kLower (EEXIST: there is one).
Result<void> write_move_journal(lower::LowerFs& lower, int rootfd, const legacy::MovePlan& plan,
                                const crypto::LegacyKey& key);

enum class MoveRecovery : std::uint8_t { kNone, kFinished, kUndone };

// Before anything else uses the volume. ERRORS: kLower, kDamaged (the journal).
Result<MoveRecovery> recover_move(lower::LowerFs& lower, int rootfd, const crypto::LegacyKey& key);

}  // namespace extencfs::core
