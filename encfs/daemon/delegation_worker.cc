// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/delegation_worker.h"

#include "encfs/meta/delegation.h"

namespace extencfs::daemon {
namespace {

using namespace meta::delegation;
using meta::FastPathResult;

class LoadedPrograms final : public DelegatedPrograms {
  public:
    explicit LoadedPrograms(meta::KernelFastPath path) : path_(std::move(path)) {}
    FastPathResult<meta::SharedMaps> share() const override { return path_.share(); }
    std::size_t map_bytes() const override { return path_.map_bytes(); }
    FastPathResult<void> attach(int mount_fd) override { return path_.attach(mount_fd); }
    void detach() override { path_.detach(); }

  private:
    meta::KernelFastPath path_;
};

void refuse(int connection, std::string_view reason) {
    (void)send(connection, bytes_of(refused(reason)));
}

// The client's programs, loaded, with the maps on their way to it. Null: it was told why not, or is
// not worth it.
std::unique_ptr<DelegatedPrograms> open_for(int connection, uid_t user, const DelegationHost& host,
                                            std::chrono::milliseconds patience) {
    Packet packet;
    if (receive(connection, packet, patience) != Received::kPacket) return nullptr;
    auto config = packet.descriptors.empty() ? parse_open(packet.bytes) : std::nullopt;
    if (!config) {
        refuse(connection, "the settings make no sense to this version of the service");
        return nullptr;
    }
    config->of_user = user;
    if (auto reserved = host.reserve(meta::array_bytes(*config)); !reserved) {
        refuse(connection, reserved.error());
        return nullptr;
    }
    auto programs = host.load(*config);
    if (!programs) {
        host.tell(programs.error());
        refuse(connection, "the programs cannot be loaded (the log of the service says why)");
        return nullptr;
    }
    const auto maps = (*programs)->share();
    if (!maps) {
        host.tell(maps.error());
        refuse(connection, "the maps cannot be shared (the log of the service says why)");
        return nullptr;
    }
    host.handed_out(maps->ids);
    const std::array descriptors{maps->nodes.get(), maps->buckets.get(), maps->counters.get()};
    if (!send(connection, bytes_of(granted((*programs)->map_bytes())), descriptors)) return nullptr;
    return std::move(*programs);
}

bool attach_for(int connection, const DelegationHost& host, DelegatedPrograms& programs) {
    Packet packet;
    if (receive(connection, packet, {}) != Received::kPacket) return false;
    if (!is_plain(packet.bytes, Kind::kAttach) || packet.descriptors.size() != 1) {
        refuse(connection, "it did not say which mount");
        return false;
    }
    if (auto attached = programs.attach(packet.descriptors.front().get()); !attached) {
        host.tell(attached.error());
        refuse(connection, attached.error());
        return false;
    }
    host.attached();
    // An open directory would keep the mount busy.
    packet.descriptors.clear();
    return send(connection, bytes_of(granted()));
}

bool wants_detach(int connection) {
    Packet packet;
    return receive(connection, packet, {}) == Received::kPacket &&
           is_plain(packet.bytes, Kind::kDetach) && packet.descriptors.empty();
}

}  // namespace

void serve_delegation_client(int connection, uid_t user, const DelegationHost& host,
                             std::chrono::milliseconds patience) {
    const auto programs = open_for(connection, user, host, patience);
    if (!programs) return;
    const bool in_order = attach_for(connection, host, *programs) && wants_detach(connection);
    programs->detach();
    if (in_order) (void)send(connection, bytes_of(granted()));
    wait_for_end(connection);
}

FastPathResult<std::unique_ptr<DelegatedPrograms>> load_delegated(
    const meta::FastPathConfig& config) {
    auto loaded = meta::KernelFastPath::load(config);
    if (!loaded) return std::unexpected(loaded.error());
    return std::make_unique<LoadedPrograms>(std::move(*loaded));
}

}  // namespace extencfs::daemon
