// SPDX-License-Identifier: Apache-2.0
#include "encfs/meta/delegation.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace extencfs::meta::delegation {
namespace {

constexpr std::uint32_t kMostEntries = 1U << 24;
constexpr std::uint32_t kNamespaces = XF_NS_USER | XF_NS_TRUSTED | XF_NS_SECURITY | XF_NS_POSIX_ACL;
constexpr std::uint64_t kMostTimeout_ns = 366ULL * 24 * 3600 * 1'000'000'000;

// Room for one more than is allowed, so that too many are seen.
constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(int) * (kMostDescriptors + 1));

template <typename Message>
bool read_as(std::span<const std::byte> packet, Message& message) {
    if (packet.size() != sizeof message) return false;
    std::memcpy(&message, packet.data(), sizeof message);
    return true;
}

// Until there is something to read. kPacket: there is.
Received wait_for(int socket, Patience patience) {
    using std::chrono::milliseconds;
    const auto until = std::chrono::steady_clock::now() + patience.value_or(milliseconds(0));
    for (;;) {
        int left = -1;
        if (patience) {
            const auto rest =
                std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now());
            left = static_cast<int>(std::max<milliseconds::rep>(rest.count(), 0));
        }
        pollfd wait{socket, POLLIN, 0};
        const int ready = ::poll(&wait, 1, left);
        if (ready > 0) return Received::kPacket;
        if (ready == 0) return Received::kTooLate;
        if (errno != EINTR) return Received::kEnd;
    }
}

void take_descriptors(msghdr& message, std::vector<Descriptor>& descriptors) {
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            descriptors.emplace_back(fd);
        }
    }
}

}  // namespace

sockaddr_un socket_address() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    constexpr std::string_view kPath(kSocketPath);
    static_assert(kPath.size() < sizeof address.sun_path);
    std::ranges::copy(kPath, address.sun_path);
    return address;
}

std::optional<FastPathConfig> parse_open(std::span<const std::byte> packet) {
    OpenRequest request{};
    if (!read_as(packet, request) || request.head.version != kVersion ||
        request.head.kind != static_cast<std::uint32_t>(Kind::kOpen))
        return std::nullopt;
    const auto is_size = [](std::uint32_t entries) {
        return std::has_single_bit(entries) && entries <= kMostEntries;
    };
    if (!is_size(request.nodes) || request.nodes < 2 || !is_size(request.buckets) ||
        (request.xattr_namespaces & ~kNamespaces) != 0 || request.reserved != 0 ||
        request.entry_timeout_ns > kMostTimeout_ns || request.negative_timeout_ns > kMostTimeout_ns)
        return std::nullopt;
    FastPathConfig config;
    config.access = false;
    config.nodes = request.nodes;
    config.buckets = request.buckets;
    config.tag_key = request.tag_key;
    config.entry_timeout = std::chrono::nanoseconds(request.entry_timeout_ns);
    config.negative_timeout = std::chrono::nanoseconds(request.negative_timeout_ns);
    config.xattr_namespaces = request.xattr_namespaces;
    return config;
}

OpenRequest open_request(const FastPathConfig& config) {
    OpenRequest request{};
    request.head = {kVersion, static_cast<std::uint32_t>(Kind::kOpen)};
    request.nodes = config.nodes;
    request.buckets = config.buckets;
    request.xattr_namespaces = config.xattr_namespaces;
    request.tag_key = config.tag_key;
    request.entry_timeout_ns = config.entry_timeout.count();
    request.negative_timeout_ns = config.negative_timeout.count();
    return request;
}

bool is_plain(std::span<const std::byte> packet, Kind kind) {
    Request request{};
    return read_as(packet, request) && request.version == kVersion &&
           request.kind == static_cast<std::uint32_t>(kind);
}

Reply granted(std::uint64_t map_bytes) {
    Reply reply{};
    reply.version = kVersion;
    reply.map_bytes = map_bytes;
    return reply;
}

Reply refused(std::string_view reason) {
    Reply reply = granted();
    reply.refused = 1;
    reason = reason.substr(0, reply.reason.size() - 1);
    std::ranges::copy(reason, reply.reason.begin());
    return reply;
}

std::optional<std::string> reason_of(const Reply& reply) {
    if (reply.version != kVersion) return "extencfs fastpath-service is of another version";
    if (reply.refused == 0) return std::nullopt;
    return std::string(reply.reason.data(), ::strnlen(reply.reason.data(), reply.reason.size()));
}

Received receive(int socket, Packet& packet, Patience patience) {
    packet.bytes.resize(kMostBytes);
    packet.descriptors.clear();
    for (;;) {
        if (const auto waited = wait_for(socket, patience); waited != Received::kPacket)
            return waited;
        alignas(cmsghdr) std::array<char, kControlBytes> control{};
        iovec data{packet.bytes.data(), packet.bytes.size()};
        msghdr message{};
        message.msg_iov = &data;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (got < 0) return Received::kEnd;
        take_descriptors(message, packet.descriptors);
        if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ||
            packet.descriptors.size() > kMostDescriptors)
            return Received::kMalformed;
        if (got == 0) return Received::kEnd;
        packet.bytes.resize(static_cast<std::size_t>(got));
        return Received::kPacket;
    }
}

void wait_for_end(int socket) {
    pollfd wait{socket, POLLRDHUP, 0};
    while (::poll(&wait, 1, -1) < 0 && errno == EINTR) {
    }
}

bool send(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors) {
    if (descriptors.size() > kMostDescriptors) return false;
    alignas(cmsghdr) std::array<char, kControlBytes> control{};
    iovec data{const_cast<std::byte*>(bytes.data()), bytes.size()};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    if (!descriptors.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
        cmsghdr* const part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(descriptors.size_bytes());
        std::memcpy(CMSG_DATA(part), descriptors.data(), descriptors.size_bytes());
    }
    ssize_t sent = -1;
    do {
        sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    return sent == static_cast<ssize_t>(bytes.size());
}

}  // namespace extencfs::meta::delegation
