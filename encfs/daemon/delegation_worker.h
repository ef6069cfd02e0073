// SPDX-License-Identifier: Apache-2.0
// One client of the service that loads the kernel fast path for others, from its first packet to
// its last (encfs/meta/delegation.h has the protocol). Believes nothing that it is sent. Runs in a
// process of its own, so that whatever a client's descriptors do when they are closed, they do to
// nobody else.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "encfs/daemon/failure.h"
#include "encfs/meta/loader.h"

namespace extencfs::daemon {

// What has been loaded for one client.
class DelegatedPrograms {
  public:
    virtual ~DelegatedPrograms() = default;
    virtual meta::FastPathResult<meta::SharedMaps> share() const = 0;
    virtual std::size_t map_bytes() const = 0;
    virtual meta::FastPathResult<void> attach(int mount_fd) = 0;
    virtual void detach() = 0;
};

// What the worker asks of the service.
struct DelegationHost {
    using Load = std::function<meta::FastPathResult<std::unique_ptr<DelegatedPrograms>>(
        const meta::FastPathConfig&)>;
    // Whether the client may have so much memory; the error is a sentence for it.
    std::function<std::expected<void, std::string>(std::uint64_t bytes)> reserve;
    Load load;
    // Before the client gets the maps.
    std::function<void(std::span<const std::uint32_t> ids)> handed_out;
    std::function<void()> attached;  // the privileges are not needed any more
    std::function<void(const std::string& sentence)> tell;  // the service's log
};

// How long a client may take to say what it wants.
constexpr std::chrono::milliseconds kDelegationPatience{10'000};

// Returns when the client has gone, or was refused before it got its maps; what was loaded is then
// gone as well, and the arrays overwritten. (Not before: they are the client's to rely on, whatever
// else it did.) `connection` stays open, and is the caller's.
void serve_delegation_client(int connection, uid_t user, const DelegationHost& host,
                             std::chrono::milliseconds patience = kDelegationPatience);

// With the programs of this build.
meta::FastPathResult<std::unique_ptr<DelegatedPrograms>> load_delegated(
    const meta::FastPathConfig& config);

}  // namespace extencfs::daemon
