// SPDX-License-Identifier: Apache-2.0
// The kernel fast path of one mount (bpf/README.md): decides whether it is used and who loads it,
// this process or the service for those without the privilege (ADR 0010), puts it together, and
// tells what it did.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "encfs/core/metadata_sink.h"
#include "encfs/daemon/failure.h"
#include "encfs/daemon/log.h"
#include "encfs/fuse/session.h"

namespace extencfs::daemon {

// Who may use the mount beside its owner. Asked for in any way, it is enforced in the kernel or the
// mount fails.
struct AccessRules {
    bool deny_root = false;
    bool guard_lower = false;  // only the daemon writes below the volume's directory
    std::vector<uid_t> allow_uids;
    std::vector<gid_t> allow_gids;
    bool admit_others() const { return !allow_uids.empty() || !allow_gids.empty(); }
    bool any() const { return deny_root || guard_lower || admit_others(); }
};

// Memory for names and attributes that the kernel answers from.
constexpr unsigned kDefaultMapMb = 25;
constexpr unsigned kLeastMapMb = 1;
constexpr unsigned kMostMapMb = 4096;

// THREADS: enforce, attach and detach one after the other; notes and add_to from any.
class FastPath {
  public:
    // Null, with a line in `notes` that says what is missing, where it is neither demanded nor
    // possible. To be called in the process that serves. ERRORS: kFastPath.
    static Outcome<std::unique_ptr<FastPath>> make(const fuse::MountOptions& mount,
                                                   const AccessRules& rules, unsigned map_mb,
                                                   std::vector<std::string>& notes);
    // Detaches, and overwrites what was known.
    ~FastPath();

    // For core::Options; null where only access is ruled. It may outlive this object, unused.
    std::shared_ptr<core::MetadataSink> sink() const;

    // From now on the kernel refuses whom the rules do not admit. To be called before the mount is
    // served, so that nobody comes first. `lower_dir`: the volume's directory. ERRORS: kFastPath.
    Outcome<void> enforce(const std::string& mountpoint, int lower_dir, Log& log);
    // From now on the kernel answers. The mount is served by other threads. ERRORS: kFastPath;
    // where it is not demanded and somebody else would have attached, a note instead.
    Outcome<void> attach(const std::string& mountpoint);
    // The kernel answers nothing any more. Before the file system is taken down.
    void detach();

    // What is missing since the mount, a sentence each.
    std::vector<std::string> notes() const;

    // Mode "extfuse" where the kernel answers; keys "served_in_kernel", "denied_in_kernel" (by
    // opcode), "map_bytes", "map_entries".
    void add_to(nlohmann::ordered_json& stats) const;

  private:
    struct State;
    explicit FastPath(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace extencfs::daemon
