// SPDX-License-Identifier: Apache-2.0
// The kernel fast path, from the daemon's side: are all parts there, load the programs, map the
// arrays, attach to the mount, say who may use it, read the counters, take it all away.
// Knows nothing of what the records say (records.h) or of the volume. bpf/README.md has the
// protocol, bpf/abi.h the layouts. A build without libbpf or clang links loader_null.cc.
#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bpf/abi.h"
#include "encfs/meta/kernel_answers.h"
#include "encfs/meta/mapped_array.h"

namespace extencfs::meta {

// What is missing for each half, one sentence for each part; empty: all is there. The privilege to
// load comes last.
struct FastPathProbe {
    std::vector<std::string> metadata;  // answers from maps: extfuse.ko and BPF struct_ops
    std::vector<std::string> access;    // refusals: BPF LSM
    bool privileged = true;             // CAP_SYS_ADMIN
    // Nothing but the privilege is missing for `metadata`: somebody who has it could load.
    bool could_be_delegated() const { return !privileged && metadata.size() == 1; }
};

struct FastPathConfig {
    bool metadata = true;                        // load the programs that answer
    bool access = true;                          // load the programs that refuse
    std::uint32_t nodes = XF_DEFAULT_NODES;      // slots, slot 0 included; a power of two
    std::uint32_t buckets = XF_DEFAULT_BUCKETS;  // a power of two
    std::array<std::uint64_t, 2> tag_key{};      // random, new for each mount
    std::chrono::nanoseconds entry_timeout{0};
    std::chrono::nanoseconds negative_timeout{0};  // 0: absent is ENOENT
    std::uint32_t xattr_namespaces = 0;            // XF_NS_*
    // The kernel attaches to mounts of this user only (initial user namespace).
    std::optional<uid_t> of_user;
};

// Memory of the two arrays.
inline std::uint64_t array_bytes(const FastPathConfig& config) {
    return std::uint64_t{config.nodes} * sizeof(xf_node) +
           std::uint64_t{config.buckets} * sizeof(xf_bucket);
}

// Uids and gids as the initial user namespace counts them.
struct AccessPolicy {
    uid_t owner = 0;
    bool deny_root = false;
    std::vector<uid_t> allow_uids;  // at most XF_POLICY_UIDS
    std::vector<gid_t> allow_gids;  // at most XF_POLICY_GIDS; supplementary groups count
    int lower_dir = -1;             // if not -1: only the daemon may write below it
};

// What a process without privileges gets of a fast path that another one loaded for it: the arrays
// to read and write, the counters to read. Nothing else of it.
struct SharedMaps {
    static constexpr std::size_t kCount = 3;
    Descriptor nodes;
    Descriptor buckets;
    Descriptor counters;
    std::array<std::uint32_t, kCount> ids{};  // of the same maps, in the kernel
};

// The counts of a map "counters", by its descriptor (one that may only read does).
FastPathResult<FastPathCounters> counters_of(int counters_map);
// Whether anybody at all still holds the map with this id. Takes CAP_SYS_ADMIN.
bool map_exists(std::uint32_t id);

// Programs and maps of one mount. The kernel forgets them with the process: nothing is pinned.
// THREADS: members by one thread at a time; the spans by any, as bpf/README.md says.
class KernelFastPath final : public KernelAnswers {
  public:
    // Changes nothing; loads nothing.
    static FastPathProbe probe();

    // Programs verified, arrays mapped and zero, nobody answered or refused yet. To be called in
    // the process that serves: a child forked off later does not have the mappings.
    static FastPathResult<KernelFastPath> load(const FastPathConfig& config);

    KernelFastPath(KernelFastPath&&) noexcept;
    KernelFastPath& operator=(KernelFastPath&&) noexcept;
    // detach(), then wipe().
    ~KernelFastPath() override;

    // Empty without `metadata`.
    std::span<xf_node> nodes() const override;
    std::span<xf_bucket> buckets() const override;
    const xf_config& config() const;

    // This process is the daemon: never refused. Again in a process forked off to serve.
    FastPathResult<void> enrol();

    // Refuse from now on. `mount_fd` is any descriptor of the mount's root, O_PATH too, and stays
    // open meanwhile. Sends no FUSE request. Can be called again with another policy.
    FastPathResult<void> set_policy(int mount_fd, const AccessPolicy& policy);

    // May be called again after detach().
    FastPathResult<void> attach(int mount_fd) override;
    bool attached() const override;
    void detach() override;

    // Of the maps, for another process. REQUIRES: `metadata`.
    FastPathResult<SharedMaps> share() const;

    // Zeros in both arrays: for the end of the mount. REQUIRES: detached, no reader or writer.
    void wipe();

    FastPathResult<FastPathCounters> counters() const override;
    // Refusals since the last call, as many as the rate limit let through.
    void drain_denials(const std::function<void(const xf_denial&)>& take);

    std::size_t map_bytes() const override;

  private:
    struct State;
    explicit KernelFastPath(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// The name of an LSM hook in abi.h, for logs and statistics.
const char* hook_name(std::uint32_t hook);
// The FUSE opcode of the request that a refusal in the hook spared the daemon; 0: none.
std::uint32_t hook_opcode(std::uint32_t hook);

}  // namespace extencfs::meta
