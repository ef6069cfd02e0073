// SPDX-License-Identifier: Apache-2.0
#include "encfs/meta/delegation_client.h"

#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstring>

namespace extencfs::meta {
namespace {

using namespace delegation;
using namespace std::chrono_literals;

constexpr auto kPatience = 60s;  // the kernel's verifier is at work meanwhile
constexpr auto kPatienceAtEnd = 10s;

std::string missing(int error) {
    std::string text("the daemon lacks CAP_SYS_ADMIN, and ");
    switch (error) {
        case ENOENT:
        case ECONNREFUSED:
            return text +
                   "extencfs fastpath-service is not running: ask the administrator to start it";
        case EACCES:
            return text +
                   "extencfs fastpath-service is for members of a group: ask the administrator";
        default:
            return text + "extencfs fastpath-service cannot be reached (" + std::strerror(error) +
                   ")";
    }
}

// Nobody but root can listen there; whoever does is asked all the same.
bool is_of_root(int socket) {
    ucred peer{};
    socklen_t size = sizeof peer;
    return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == 0;
}

FastPathResult<Reply> read_reply(int socket, Packet& packet, std::chrono::milliseconds patience) {
    const auto received = receive(socket, packet, patience);
    if (received == Received::kTooLate)
        return std::unexpected(std::string("extencfs fastpath-service does not answer"));
    Reply reply{};
    if (received != Received::kPacket || packet.bytes.size() != sizeof reply)
        return std::unexpected(std::string("extencfs fastpath-service ended the connection"));
    std::memcpy(&reply, packet.bytes.data(), sizeof reply);
    if (auto reason = reason_of(reply)) return std::unexpected(*reason);
    return reply;
}

}  // namespace

FastPathResult<std::unique_ptr<DelegatedFastPath>> DelegatedFastPath::open(
    const FastPathConfig& config) {
    Descriptor connection(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (connection.get() < 0) return std::unexpected(missing(errno));
    const sockaddr_un address = socket_address();
    const timeval limit{5, 0};  // where more wait than it accepts
    ::setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (::connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
        0)
        return std::unexpected(missing(errno));
    if (!is_of_root(connection.get())) return std::unexpected(missing(EPERM));
    return open_over(std::move(connection), config);
}

FastPathResult<std::unique_ptr<DelegatedFastPath>> DelegatedFastPath::open_over(
    Descriptor connection, const FastPathConfig& config) {
    std::unique_ptr<DelegatedFastPath> path(new DelegatedFastPath);
    path->connection_ = std::move(connection);
    Packet packet;
    if (auto place = read_reply(path->connection_.get(), packet, kPatience); !place)
        return std::unexpected(place.error());
    const OpenRequest request = open_request(config);
    if (auto granted = path->ask(bytes_of(request), {}, packet); !granted)
        return std::unexpected(granted.error());
    if (packet.descriptors.size() != SharedMaps::kCount)
        return std::unexpected(std::string("extencfs fastpath-service gave no maps"));
    auto nodes = MappedArray::map(packet.descriptors[0].get(), config.nodes, sizeof(xf_node));
    if (!nodes) return std::unexpected(nodes.error());
    auto buckets = MappedArray::map(packet.descriptors[1].get(), config.buckets, sizeof(xf_bucket));
    if (!buckets) return std::unexpected(buckets.error());
    path->nodes_ = std::move(*nodes);
    path->buckets_ = std::move(*buckets);
    path->counters_ = std::move(packet.descriptors[2]);
    Reply reply{};
    std::memcpy(&reply, packet.bytes.data(), sizeof reply);
    path->map_bytes_ = reply.map_bytes;
    return path;
}

FastPathResult<void> DelegatedFastPath::ask(std::span<const std::byte> request,
                                            std::span<const int> descriptors, Packet& reply) {
    if (!send(connection_.get(), request, descriptors))
        return std::unexpected(std::string("extencfs fastpath-service ended the connection"));
    if (auto said = read_reply(connection_.get(), reply, kPatience); !said)
        return std::unexpected(said.error());
    return {};
}

DelegatedFastPath::~DelegatedFastPath() {
    detach();
    nodes_.wipe();
    buckets_.wipe();
}

std::span<xf_node> DelegatedFastPath::nodes() const {
    return {static_cast<xf_node*>(nodes_.data()), nodes_.entries()};
}

std::span<xf_bucket> DelegatedFastPath::buckets() const {
    return {static_cast<xf_bucket*>(buckets_.data()), buckets_.entries()};
}

FastPathResult<void> DelegatedFastPath::attach(int mount_fd) {
    const Request request{kVersion, static_cast<std::uint32_t>(Kind::kAttach)};
    Packet packet;
    auto done = ask(bytes_of(request), std::span(&mount_fd, 1), packet);
    attached_ = done.has_value();
    return done;
}

bool DelegatedFastPath::attached() const {
    // The service says nothing by itself: what can be read is the end of the connection.
    char byte = 0;
    return attached_ &&
           ::recv(connection_.get(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           errno == EAGAIN;
}

void DelegatedFastPath::detach() {
    if (!std::exchange(attached_, false)) return;
    const Request request{kVersion, static_cast<std::uint32_t>(Kind::kDetach)};
    Packet packet;
    if (send(connection_.get(), bytes_of(request)))
        (void)receive(connection_.get(), packet, kPatienceAtEnd);
}

FastPathResult<FastPathCounters> DelegatedFastPath::counters() const {
    return counters_of(counters_.get());
}

}  // namespace extencfs::meta
