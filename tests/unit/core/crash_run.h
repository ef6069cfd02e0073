// SPDX-License-Identifier: Apache-2.0
// A script on a FaultLowerFs up to a planned death, and what is allowed to be there then.
#pragma once

#include "tests/fake/fault_lower_fs.h"
#include "tests/unit/core/script.h"
#include "tests/unit/core/seen.h"
#include "tests/unit/core/volume_for_tests.h"

namespace extencfs::core {

class CrashRun {
  public:
    // `legacy`: on an EncFS volume; nullptr: on one of format 1.
    explicit CrashRun(const Script& script, const LegacyVolume* legacy = nullptr)
        : script_(script), legacy_(legacy), dir_(fake::ScratchDir::in_memory()) {}

    fake::FaultLowerFs& lower() { return lower_; }
    const fake::ScratchDir& dir() const { return dir_; }

    // The steps, until one fails as the lower file system is dead. `plant` is called once the file
    // system is open. Returns the number of steps that were acknowledged.
    template <typename Plant>
    std::size_t run(Plant plant, BorrowedLower::WriteLog* writes = nullptr) {
        auto fs = open_fs(lower_, dir_, {.clean = true, .writes = writes, .legacy = legacy_});
        lower_.forget_calls();
        if (writes != nullptr) writes->writes.clear();
        plant();
        Session session(*fs);
        for (done_ = 0; done_ < script_.steps().size(); ++done_) {
            const Step& step = script_.steps()[done_];
            auto r = step.act(session);
            if (lower_.dead()) break;
            INFO(step.what);
            if (!r) INFO("errno " << errno_of(r.error()));
            REQUIRE(r);
        }
        return done_;
    }

    std::string in_flight() const {
        return done_ < script_.steps().size() ? script_.steps()[done_].what : "the end";
    }

    // The process was killed: exactly what was acknowledged, and the step in flight or not.
    Allowed after_kill() const {
        Allowed allowed{.history = &script_.history(),
                        .first = done_,
                        .last = std::min(done_ + 1, script_.steps().size()),
                        .content_since = {},
                        .between = {},
                        .safe = {}};
        for (const auto& [id, node] : script_.history()[done_].nodes)
            allowed.content_since[id] = done_;
        if (done_ < script_.steps().size() && script_.steps()[done_].between >= 0)
            allowed.between[script_.steps()[done_].between] = true;
        return allowed;
    }

    // The power went: what was synced, and of the rest any part.
    Allowed after_power_loss() const {
        Allowed allowed = after_kill();
        allowed.first = 0;
        allowed.content_since.clear();
        allowed.losses = true;
        for (std::size_t i = 0; i < done_; ++i) {
            const Step& step = script_.steps()[i];
            if (step.syncs_content_of >= 0) allowed.content_since[step.syncs_content_of] = i + 1;
            if (step.syncs_names_of >= 0)
                allowed.first =
                    std::max(allowed.first, script_.last_change_of_names(step.syncs_names_of, i));
        }
        for (std::size_t i = 0; i <= done_ && i < script_.steps().size(); ++i)
            if (script_.steps()[i].between >= 0) allowed.between[script_.steps()[i].between] = true;
        for (const auto& [path, id] : script_.history()[allowed.first].names)
            if (allowed.content_since.contains(id)) allowed.safe.insert(id);
        return allowed;
    }

    // The process was killed, a new one began to mend, then the power went. Opening syncs, so that
    // only what is mended can be lost: of a directory whose making or removal was cut short.
    Allowed after_remount() const {
        Allowed allowed = after_kill();
        allowed.losses = true;
        std::set<int> later;
        for (const auto& [path, id] : script_.history()[allowed.last].names) later.insert(id);
        for (const auto& [path, id] : script_.history()[allowed.first].names)
            if (later.contains(id)) allowed.safe.insert(id);
        return allowed;
    }

  private:
    const Script& script_;
    const LegacyVolume* legacy_;
    fake::ScratchDir dir_;
    fake::FaultLowerFs lower_;
    std::size_t done_ = 0;
};

}  // namespace extencfs::core
