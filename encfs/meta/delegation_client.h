// SPDX-License-Identifier: Apache-2.0
// The kernel fast path of a daemon without privileges: loaded and attached by extencfs
// fastpath-service (ADR 0010), written and read here.
#pragma once

#include <memory>

#include "encfs/meta/delegation.h"
#include "encfs/meta/kernel_answers.h"

namespace extencfs::meta {

// Lives as long as the connection: when either end of it has gone, the kernel answers nothing.
class DelegatedFastPath final : public KernelAnswers {
  public:
    // Asks the service of this machine. ERRORS: one sentence for whoever mounts, also where it is
    // not running. Waits for a minute at most.
    static FastPathResult<std::unique_ptr<DelegatedFastPath>> open(const FastPathConfig& config);
    // The same over a connection that is there.
    static FastPathResult<std::unique_ptr<DelegatedFastPath>> open_over(
        Descriptor connection, const FastPathConfig& config);

    // Overwrites the arrays; the service detaches when it sees the connection end.
    ~DelegatedFastPath() override;

    std::span<xf_node> nodes() const override;
    std::span<xf_bucket> buckets() const override;
    // Once.
    FastPathResult<void> attach(int mount_fd) override;
    bool attached() const override;
    // Where the service does not confirm within ten seconds, returns all the same: what is answered
    // until it does comes from records that are still right.
    void detach() override;
    FastPathResult<FastPathCounters> counters() const override;
    std::size_t map_bytes() const override { return map_bytes_; }

  private:
    DelegatedFastPath() = default;
    FastPathResult<void> ask(std::span<const std::byte> request, std::span<const int> descriptors,
                             delegation::Packet& reply);

    Descriptor connection_;
    Descriptor counters_;
    MappedArray nodes_;
    MappedArray buckets_;
    std::size_t map_bytes_ = 0;
    bool attached_ = false;
};

}  // namespace extencfs::meta
