// SPDX-License-Identifier: Apache-2.0
// What a daemon without privileges and the service that loads for it say to each other (ADR 0010):
// packets of fixed size over a Unix socket of type SOCK_SEQPACKET.
//
//   service: Reply (a place is free, or why not), as soon as somebody connects
//   daemon:  kOpen with settings          service: Reply, with three maps (SharedMaps)
//   daemon:  kAttach with the mount       service: Reply
//   daemon:  kDetach                      service: Reply
//
// In this order, each once. The end of the connection ends everything. A program belongs to this
// machine's two ends only: native byte order, and a version that both must have.
#pragma once

#include <sys/un.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "encfs/meta/loader.h"
#include "encfs/meta/mapped_array.h"

namespace extencfs::meta::delegation {

// Root's directory, entered by everybody (that of the control sockets is not).
constexpr const char* kSocketDirectory = "/run/extencfs-fastpath";
constexpr const char* kSocketPath = "/run/extencfs-fastpath/socket";
sockaddr_un socket_address();

constexpr std::uint32_t kVersion = 1;
enum class Kind : std::uint32_t { kOpen = 1, kAttach = 2, kDetach = 3 };

struct Request {
    std::uint32_t version;
    std::uint32_t kind;
};
struct OpenRequest {
    Request head;
    std::uint32_t nodes;
    std::uint32_t buckets;
    std::uint32_t xattr_namespaces;
    std::uint32_t reserved;  // 0
    std::array<std::uint64_t, 2> tag_key;
    std::uint64_t entry_timeout_ns;
    std::uint64_t negative_timeout_ns;
};
static_assert(sizeof(OpenRequest) == 56);
struct Reply {
    std::uint32_t version;
    std::uint32_t refused;  // 0 or 1
    std::uint64_t map_bytes;
    std::array<char, 240> reason;  // where refused; ends with a 0
};
static_assert(sizeof(Reply) == 256);

// What is asked for, within sense: sizes that are powers of two, known flags, times of a year at
// most. How much memory somebody may have is not judged here. Nothing that is not a kOpen of this
// version passes. Neither `of_user` nor `access` is set.
std::optional<FastPathConfig> parse_open(std::span<const std::byte> packet);
OpenRequest open_request(const FastPathConfig& config);
// Whether the packet is that request, of this version, without anything behind it.
bool is_plain(std::span<const std::byte> packet, Kind kind);

Reply granted(std::uint64_t map_bytes = 0);
Reply refused(std::string_view reason);  // cut where it is too long
// The reason, or nothing where it is granted; nonsense is a refusal too.
std::optional<std::string> reason_of(const Reply& reply);

// ---- packets ----

struct Packet {
    std::vector<std::byte> bytes;
    std::vector<Descriptor> descriptors;
};
enum class Received : std::uint8_t {
    kPacket,
    kEnd,        // of the connection; an empty packet counts as one
    kTooLate,    // nothing came in time
    kMalformed,  // longer than any packet, or with too many descriptors
};
constexpr std::size_t kMostBytes = 256;
constexpr std::size_t kMostDescriptors = 4;
using Patience = std::optional<std::chrono::milliseconds>;  // nothing: for ever

// Descriptors are closed in children (O_CLOEXEC).
Received receive(int socket, Packet& packet, Patience patience);
// Until the other side closes; reads nothing.
void wait_for_end(int socket);
// Waits for nobody: a peer that does not read loses its packet. False where it was not sent.
bool send(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors = {});

template <typename Message>
std::span<const std::byte> bytes_of(const Message& message) {
    return std::as_bytes(std::span(&message, 1));
}

}  // namespace extencfs::meta::delegation
