// SPDX-License-Identifier: Apache-2.0
// The protocol between a daemon without privileges and the service, with programs that are only
// pretended: memory files in place of maps.
#include "encfs/meta/delegation.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <cstring>
#include <random>
#include <thread>

#include "encfs/daemon/delegation_worker.h"
#include "encfs/meta/delegation_client.h"

using namespace extencfs;
using namespace extencfs::meta::delegation;
using namespace std::chrono_literals;
using meta::DelegatedFastPath;
using meta::Descriptor;
using meta::FastPathConfig;

namespace {

// What the service did, seen from outside.
struct Seen {
    std::atomic<int> loaded{0}, attached{0}, detached{0}, gone{0}, handed_out{0};
    std::atomic<uid_t> user{0};
    std::string refuse_reserve, refuse_load, refuse_attach;
};

// None where there is no memory: in the service's thread Catch must not be asked.
Descriptor memory(std::size_t bytes) {
    Descriptor file(::memfd_create("array", MFD_CLOEXEC));
    if (::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) return Descriptor();
    return file;
}

class Pretended final : public daemon::DelegatedPrograms {
  public:
    Pretended(Seen& seen, const FastPathConfig& config) : seen_(seen), config_(config) {
        ++seen_.loaded;
    }
    ~Pretended() override { ++seen_.gone; }
    meta::FastPathResult<meta::SharedMaps> share() const override {
        meta::SharedMaps maps;
        maps.nodes = memory(config_.nodes * sizeof(xf_node));
        maps.buckets = memory(config_.buckets * sizeof(xf_bucket));
        maps.counters = memory(1);
        return maps;
    }
    std::size_t map_bytes() const override { return 4711; }
    meta::FastPathResult<void> attach(int mount_fd) override {
        if (!seen_.refuse_attach.empty()) return std::unexpected(seen_.refuse_attach);
        if (::fcntl(mount_fd, F_GETFD) < 0) return std::unexpected(std::string("no descriptor"));
        ++seen_.attached;
        return {};
    }
    void detach() override { ++seen_.detached; }

  private:
    Seen& seen_;
    const FastPathConfig config_;
};

// A worker at work on one end of a pair of sockets; the test has the other.
class Service {
  public:
    explicit Service(Seen& seen, std::chrono::milliseconds patience = 5s) {
        int pair[2];
        REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
        client_ = Descriptor(pair[0]);
        thread_ = std::thread([&seen, patience, end = pair[1]] {
            const Descriptor own(end);
            daemon::DelegationHost host;
            host.reserve = [&seen](std::uint64_t) -> std::expected<void, std::string> {
                if (!seen.refuse_reserve.empty()) return std::unexpected(seen.refuse_reserve);
                return {};
            };
            host.load = [&seen](const FastPathConfig& config)
                -> meta::FastPathResult<std::unique_ptr<daemon::DelegatedPrograms>> {
                if (!seen.refuse_load.empty()) return std::unexpected(seen.refuse_load);
                seen.user = config.of_user.value_or(0);
                return std::make_unique<Pretended>(seen, config);
            };
            host.handed_out = [&seen](std::span<const std::uint32_t>) { ++seen.handed_out; };
            host.attached = [] {};
            host.tell = [](const std::string&) {};
            (void)send(own.get(), bytes_of(granted()));
            daemon::serve_delegation_client(own.get(), 1234, host, patience);
        });
    }
    ~Service() {
        client_ = Descriptor();
        thread_.join();
    }
    Descriptor take() { return std::move(client_); }
    int socket() const { return client_.get(); }

  private:
    Descriptor client_;
    std::thread thread_;
};

FastPathConfig small() {
    FastPathConfig config;
    config.nodes = 64;
    config.buckets = 16;
    config.tag_key = {1, 2};
    config.entry_timeout = 1s;
    return config;
}

// The reply to raw bytes, after the greeting; nothing where the service ends the connection.
std::optional<std::string> said_to(int socket, std::span<const std::byte> bytes,
                                   std::span<const int> descriptors = {}) {
    Packet packet;
    REQUIRE(receive(socket, packet, 5s) == Received::kPacket);
    REQUIRE(send(socket, bytes, descriptors));
    if (receive(socket, packet, 5s) != Received::kPacket) return std::nullopt;
    Reply reply{};
    REQUIRE(packet.bytes.size() == sizeof reply);
    std::memcpy(&reply, packet.bytes.data(), sizeof reply);
    return reason_of(reply).value_or("granted");
}

Request request(Kind kind, std::uint32_t version = kVersion) {
    return {version, static_cast<std::uint32_t>(kind)};
}

}  // namespace

TEST_CASE("settings survive the way") {
    const FastPathConfig asked = small();
    const OpenRequest wire = open_request(asked);
    const auto read = parse_open(bytes_of(wire));
    REQUIRE(read);
    CHECK(read->nodes == asked.nodes);
    CHECK(read->buckets == asked.buckets);
    CHECK(read->tag_key == asked.tag_key);
    CHECK(read->entry_timeout == asked.entry_timeout);
    CHECK(read->metadata);
    CHECK_FALSE(read->access);
    CHECK_FALSE(read->of_user);
}

TEST_CASE("settings without sense are refused") {
    const auto refused = [](auto change) {
        OpenRequest wire = open_request(small());
        change(wire);
        return !parse_open(bytes_of(wire));
    };
    CHECK(refused([](auto& w) { w.head.version = 2; }));
    CHECK(refused([](auto& w) { w.head.kind = 2; }));
    for (const std::uint32_t nodes : {0U, 1U, 3U, 65537U, 1U << 25, 1U << 31, ~0U})
        CHECK(refused([nodes](auto& w) { w.nodes = nodes; }));
    for (const std::uint32_t buckets : {0U, 3U, 1U << 25, ~0U})
        CHECK(refused([buckets](auto& w) { w.buckets = buckets; }));
    CHECK(refused([](auto& w) { w.xattr_namespaces = 16; }));
    CHECK(refused([](auto& w) { w.reserved = 1; }));
    CHECK(refused([](auto& w) { w.entry_timeout_ns = ~0ULL; }));
    CHECK(refused([](auto& w) { w.negative_timeout_ns = 1ULL << 63; }));
    const OpenRequest wire = open_request(small());
    for (std::size_t size = 0; size < sizeof wire; ++size)
        CHECK_FALSE(parse_open(bytes_of(wire).first(size)));
    std::vector<std::byte> longer(sizeof wire + 1);
    std::memcpy(longer.data(), &wire, sizeof wire);
    CHECK_FALSE(parse_open(longer));
}

TEST_CASE("random settings are refused or within bounds") {
    std::mt19937 random(1);
    OpenRequest wire{};
    for (int round = 0; round < 20000; ++round) {
        wire = open_request(small());
        auto* const bytes = reinterpret_cast<unsigned char*>(&wire);
        for (int i = 0; i < 1 + round % 4; ++i) bytes[random() % sizeof wire] = random();
        const auto read = parse_open(bytes_of(wire));
        if (!read) continue;
        CHECK((read->nodes >= 2 && read->nodes <= 1U << 24 && read->buckets <= 1U << 24));
        CHECK(read->entry_timeout.count() >= 0);
    }
}

TEST_CASE("a refusal is cut to fit, and another version is one") {
    CHECK(reason_of(refused(std::string(1000, 'x')))->size() == 239);
    CHECK_FALSE(reason_of(granted()));
    Reply reply = granted();
    reply.version = 9;
    CHECK(reason_of(reply));
    reply = refused("");
    reply.reason.fill('x');  // no end
    CHECK(reason_of(reply)->size() == reply.reason.size());
}

TEST_CASE("a daemon gets its arrays, attaches, detaches, and all goes with it") {
    Seen seen;
    {
        Service service(seen);
        auto path = DelegatedFastPath::open_over(service.take(), small());
        REQUIRE(path);
        CHECK(seen.user == 1234);
        CHECK(seen.handed_out == 1);
        CHECK((*path)->nodes().size() == 64);
        CHECK((*path)->buckets().size() == 16);
        CHECK((*path)->map_bytes() == 4711);
        (*path)->nodes()[63].nodeid = 63;
        CHECK((*path)->map_entries() == 1);
        CHECK_FALSE((*path)->attached());
        const Descriptor mount(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        REQUIRE((*path)->attach(mount.get()));
        CHECK((*path)->attached());
        CHECK(seen.attached == 1);
        (*path)->detach();
        CHECK_FALSE((*path)->attached());
        CHECK(seen.detached == 1);
        CHECK(seen.gone == 0);  // the arrays are still the daemon's
    }
    CHECK(seen.gone == 1);
}

TEST_CASE("a daemon that is refused says why") {
    Seen seen;
    const auto open = [&seen] {
        Service service(seen);
        return DelegatedFastPath::open_over(service.take(), small());
    };
    seen.refuse_reserve = "too much";
    CHECK(open().error() == "too much");
    CHECK(seen.loaded == 0);
    seen.refuse_reserve.clear();
    seen.refuse_load = "a verifier's log";
    CHECK(open().error().find("verifier") == std::string::npos);
    seen.refuse_load.clear();
    seen.refuse_attach = "not yours";
    Service service(seen);
    const auto path = DelegatedFastPath::open_over(service.take(), small());
    REQUIRE(path);
    const Descriptor mount(::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    CHECK((*path)->attach(mount.get()).error() == "not yours");
    CHECK_FALSE((*path)->attached());
    CHECK(seen.gone == 0);  // its records go on, without answers
}

TEST_CASE("a daemon notices that the service has gone") {
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    std::optional<Descriptor> service(pair[1]);
    std::thread answers([&service] {
        const int socket = service->get();
        Packet packet;
        (void)send(socket, bytes_of(granted()));
        (void)receive(socket, packet, 5s);
        const Descriptor nodes = memory(64 * sizeof(xf_node));
        const int three[] = {nodes.get(), nodes.get(), nodes.get()};
        (void)send(socket, bytes_of(granted()), three);
        (void)receive(socket, packet, 5s);
        (void)send(socket, bytes_of(granted()));
    });
    auto path = DelegatedFastPath::open_over(Descriptor(pair[0]), small());
    REQUIRE(path);
    REQUIRE((*path)->attach(0));
    answers.join();
    CHECK((*path)->attached());
    service.reset();
    CHECK_FALSE((*path)->attached());
    (*path)->nodes()[1].nodeid = 1;  // the memory is still there
    (*path)->detach();               // and nobody is waited for
}

TEST_CASE("garbage is refused or ends the connection") {
    Seen seen;
    std::array<std::byte, 300> junk{};
    junk.fill(std::byte{0xa5});
    const OpenRequest good = open_request(small());
    const Request attach = request(Kind::kAttach), old = request(Kind::kOpen, 0);
    const int fd = 0;
    for (const std::size_t size : {1, 8, 55, 56, 57, 256}) {
        Service service(seen);
        CHECK(said_to(service.socket(), std::span(junk).first(size)) != "granted");
    }
    {
        Service service(seen);  // longer than any packet
        CHECK_FALSE(said_to(service.socket(), junk));
    }
    {
        Service service(seen);  // out of order
        CHECK(said_to(service.socket(), bytes_of(attach), std::span(&fd, 1)) != "granted");
    }
    {
        Service service(seen);
        CHECK(said_to(service.socket(), bytes_of(old)) != "granted");
    }
    {
        Service service(seen);  // a descriptor that nobody asked for
        CHECK(said_to(service.socket(), bytes_of(good), std::span(&fd, 1)) != "granted");
    }
    {
        Service service(seen);  // an empty packet is an end
        CHECK_FALSE(said_to(service.socket(), {}));
    }
    CHECK(seen.loaded == 0);
}

TEST_CASE("what comes in place of the mount attaches nothing") {
    const Request attach = request(Kind::kAttach), detach = request(Kind::kDetach);
    const int two[] = {0, 0};
    const auto after_open = [&](std::span<const std::byte> bytes,
                                std::span<const int> descriptors) {
        Seen seen;
        {
            Service service(seen);
            const OpenRequest good = open_request(small());
            REQUIRE(said_to(service.socket(), bytes_of(good)) == "granted");
            Packet packet;
            REQUIRE(send(service.socket(), bytes, descriptors));
            CHECK(receive(service.socket(), packet, 5s) == Received::kPacket);  // a refusal
            CHECK(seen.gone == 0);
        }
        CHECK(seen.attached == 0);
        CHECK(seen.gone == 1);
    };
    after_open(bytes_of(attach), {});
    after_open(bytes_of(attach), two);
    after_open(bytes_of(detach), std::span(two, 1));
    after_open(bytes_of(attach).first(7), std::span(two, 1));
}

TEST_CASE("who says nothing is not waited for") {
    Seen seen;
    Service service(seen, 50ms);
    Packet packet;
    REQUIRE(receive(service.socket(), packet, 5s) == Received::kPacket);
    CHECK(receive(service.socket(), packet, 5s) == Received::kEnd);
    CHECK(seen.loaded == 0);
}

TEST_CASE("more descriptors than any packet has are refused, and closed") {
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    const Descriptor one(pair[0]), other(pair[1]);
    const auto send_many = [&](std::size_t count) {
        std::vector<char> control(CMSG_SPACE(count * sizeof(int)));
        char byte = 'x';
        iovec data{&byte, 1};
        msghdr message{};
        message.msg_iov = &data;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* const part = CMSG_FIRSTHDR(&message);
        part->cmsg_level = SOL_SOCKET;
        part->cmsg_type = SCM_RIGHTS;
        part->cmsg_len = CMSG_LEN(count * sizeof(int));
        for (std::size_t i = 0; i < count; ++i)
            std::memcpy(CMSG_DATA(part) + i * sizeof(int), &pair[1], sizeof(int));
        REQUIRE(::sendmsg(pair[0], &message, 0) == 1);
    };
    const int before = ::dup(0);
    ::close(before);
    for (const std::size_t count : {5, 6, 7, 100}) {
        send_many(count);
        Packet packet;
        CHECK(receive(other.get(), packet, 5s) == Received::kMalformed);
    }
    const int after = ::dup(0);
    ::close(after);
    CHECK(after == before);
}
