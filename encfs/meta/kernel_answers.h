// SPDX-License-Identifier: Apache-2.0
// What a daemon needs of the kernel fast path once the programs are loaded, whoever loaded them:
// its own process (loader.h) or a service with the privilege (delegation_client.h).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>

#include "bpf/abi.h"

namespace extencfs::meta {

// By FUSE opcode, all processors together.
struct FastPathCounters {
    std::array<std::uint64_t, XF_OPCODES> served{};
    std::array<std::uint64_t, XF_OPCODES> missed{};
    std::array<std::uint64_t, XF_OPCODES> denied{};  // hooks under the opcode they spare
    std::array<std::uint64_t, XF_HOOKS> denied_by_hook{};
    std::uint64_t denials_not_logged = 0;
};

// ERRORS: a sentence for the log; libbpf's own messages are in it and are printed nowhere.
template <typename T>
using FastPathResult = std::expected<T, std::string>;

// The arrays that the kernel answers one mount's requests from, and the switch.
// THREADS: members by one thread at a time; the spans by any, as bpf/README.md says.
class KernelAnswers {
  public:
    virtual ~KernelAnswers() = default;

    // The mapped arrays, zero at first. Valid as long as this object.
    virtual std::span<xf_node> nodes() const = 0;
    virtual std::span<xf_bucket> buckets() const = 0;

    // Answer from now on. `mount_fd` is open (not O_PATH) on the mount, and may be closed
    // afterwards.
    virtual FastPathResult<void> attach(int mount_fd) = 0;
    // False also where whoever attached has gone, and the programs with it.
    virtual bool attached() const = 0;
    // Nothing is answered any more when it returns. The counts in the records stay: they are
    // still to be folded in.
    virtual void detach() = 0;

    virtual FastPathResult<FastPathCounters> counters() const = 0;
    // Memory of the maps (both arrays, and the small ones).
    virtual std::size_t map_bytes() const = 0;
    // Nodes and names in the arrays; looks at all of them.
    std::size_t map_entries() const;

  protected:
    KernelAnswers() = default;
    KernelAnswers(KernelAnswers&&) noexcept = default;
    KernelAnswers& operator=(KernelAnswers&&) noexcept = default;
};

}  // namespace extencfs::meta
