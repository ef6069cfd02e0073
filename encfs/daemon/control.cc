// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/control.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "crypto/encoding.h"
#include "crypto/kdf.h"

namespace extencfs::daemon {
namespace {

constexpr std::size_t kMostRequestBytes = 4096;
constexpr std::size_t kMostReplyBytes = 1024 * 1024;

std::string temp_directory(uid_t uid) {
    return "/tmp/extencfs-" + std::to_string(uid);
}

// Ours alone: a socket in a directory that others may write could be theirs.
bool is_private(const std::string& directory, uid_t uid) {
    struct stat st {};
    return lstat(directory.c_str(), &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == uid &&
           (st.st_mode & 022) == 0;
}

bool make_private(const std::string& directory) {
    return (mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST) &&
           is_private(directory, geteuid());
}

bool fill_address(const std::string& path, sockaddr_un& address) {
    address = {};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) return false;
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    return true;
}

lower::Fd new_socket() {
    return lower::Fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
}

void limit_waiting(int fd, int milliseconds) {
    const timeval limit{milliseconds / 1000, (milliseconds % 1000) * 1000L};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

uid_t peer_uid(int fd) {
    ucred peer{};
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return static_cast<uid_t>(-1);
    return peer.uid;
}

// Connects, or says why not with errno.
lower::Fd connect_to(const std::string& path) {
    sockaddr_un address;
    lower::Fd fd = new_socket();
    if (!fd || !fill_address(path, address)) return {};
    if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        return {};
    }
    return fd;
}

bool send_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t sent = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        text.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

// Up to the first newline (not included), `most` bytes at most; false on anything else.
bool receive_line(int fd, std::size_t most, std::string& line) {
    char buffer[4096];
    line.clear();
    while (line.size() <= most) {
        const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        line.append(buffer, static_cast<std::size_t>(got));
        if (const std::size_t end = line.find('\n'); end != std::string::npos) {
            line.resize(end);
            return true;
        }
    }
    return false;
}

// Until the other side is gone. ERRORS: kControl (`patience_s` is over first), those of `still`.
Outcome<void> wait_for_end(int fd, const std::string& mountpoint, int patience_s,
                           const StillWaiting& still) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(patience_s);
    limit_waiting(fd, 1000);
    char byte = 0;
    while (std::chrono::steady_clock::now() < until) {
        const ssize_t got = recv(fd, &byte, 1, 0);
        if (got == 0 || (got < 0 && errno == ECONNRESET)) return {};
        if (got < 0 && errno != EAGAIN && errno != EINTR) break;
        if (!still) continue;
        if (auto sensible = still(); !sensible) return sensible;
    }
    return fail(FailureKind::kControl, "the daemon of ", mountpoint,
                " is still writing; wait before you copy the volume");
}

}  // namespace

std::vector<std::string> control_directories(uid_t uid) {
    std::vector<std::string> found;
    if (uid == 0) {
        found.emplace_back("/run/extencfs");
    } else {
        const char* runtime = uid == geteuid() ? std::getenv("XDG_RUNTIME_DIR") : nullptr;
        if (runtime != nullptr && runtime[0] == '/') {
            found.push_back(std::string(runtime) + "/extencfs");
        }
        found.push_back("/run/user/" + std::to_string(uid) + "/extencfs");
    }
    found.push_back(temp_directory(uid));
    return found;
}

std::string control_socket_name(const std::string& mountpoint) {
    ByteArray<32> hash{};
    crypto::hash256(bytes_of(mountpoint), hash);
    return crypto::hex_encode(Bytes(hash).first(16)) + ".sock";
}

Outcome<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& mountpoint,
                                                             ControlHandler handler) {
    std::unique_ptr<ControlServer> server(new ControlServer);
    server->handler_ = std::move(handler);
    int error = ENOENT;
    for (const std::string& directory : control_directories(geteuid())) {
        const std::string path = directory + "/" + control_socket_name(mountpoint);
        sockaddr_un address;
        if (!make_private(directory) || !fill_address(path, address)) continue;
        if (connect_to(path)) {
            return fail(FailureKind::kMountpoint, mountpoint,
                        " is already served by another daemon; unmount it first");
        }
        // Nobody answers: left by a daemon that was killed.
        unlink(path.c_str());
        lower::Fd listener = new_socket();
        if (!listener || fchmod(listener.get(), 0600) != 0 ||
            bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) !=
                0 ||
            listen(listener.get(), 8) != 0) {
            error = errno;
            continue;
        }
        server->stop_ = lower::Fd(eventfd(0, EFD_CLOEXEC));
        if (!server->stop_) {
            unlink(path.c_str());
            error = errno;
            break;
        }
        server->listener_ = std::move(listener);
        server->path_ = path;
        server->thread_ = std::thread([raw = server.get()] { raw->serve(); });
        return server;
    }
    return fail(FailureKind::kControl, "the control socket cannot be made (", errno_text(error),
                "); set XDG_RUNTIME_DIR to a directory of yours");
}

ControlServer::~ControlServer() {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    (void)!::write(stop_.get(), &one, sizeof one);
    thread_.join();
    unlink(path_.c_str());
}

void ControlServer::serve() {
    for (;;) {
        pollfd waits[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
        if (poll(waits, 2, -1) < 0) {
            if (errno == EINTR) continue;
            return;
        }
        if (waits[1].revents != 0) return;
        if (waits[0].revents == 0) continue;
        lower::Fd client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (client) answer(std::move(client));
    }
}

void ControlServer::answer(lower::Fd client) {
    limit_waiting(client.get(), kClientPatience_ms);
    const uid_t uid = peer_uid(client.get());
    std::string request;
    if (uid != geteuid() && uid != 0) return;
    if (!receive_line(client.get(), kMostRequestBytes, request)) return;
    ControlReply reply = handler_(request);
    reply.json.push_back('\n');
    if (!send_all(client.get(), reply.json)) return;
    if (reply.take_over) return reply.take_over(std::move(client));
    if (reply.hold_until_exit) {
        // Never closed by us: the kernel does it when the process is gone, and that is the message.
        (void)client.release();
    }
}

namespace {

Outcome<ControlTalk> ask(const std::string& mountpoint, uid_t owner, std::string_view request,
                         int patience_s) {
    const std::string name = control_socket_name(mountpoint);
    for (const std::string& directory : control_directories(owner)) {
        if (!is_private(directory, owner)) continue;
        ControlTalk talk{.socket = connect_to(directory + "/" + name), .answer = {}};
        const int fd = talk.socket.get();
        if (!talk.socket || peer_uid(fd) != owner) continue;
        limit_waiting(fd, patience_s * 1000);
        if (!send_all(fd, std::string(request) + "\n") ||
            !receive_line(fd, kMostReplyBytes, talk.answer)) {
            return fail(FailureKind::kControl, "the daemon of ", mountpoint,
                        " does not answer; try again, or use 'extencfs unmount --lazy'");
        }
        return talk;
    }
    return fail(FailureKind::kNotMounted, "no extencfs daemon answers for ", mountpoint,
                "; check the path");
}

}  // namespace

Outcome<std::string> control_request(const std::string& mountpoint, uid_t owner,
                                     std::string_view request, Wait wait, int patience_s,
                                     const StillWaiting& still) {
    auto talk = ask(mountpoint, owner, request, patience_s);
    if (!talk) return std::unexpected(talk.error());
    if (wait == Wait::kUntilExit) {
        const auto ended = wait_for_end(talk->socket.get(), mountpoint, patience_s, still);
        if (!ended) return std::unexpected(ended.error());
    }
    return std::move(talk->answer);
}

Outcome<ControlTalk> control_talk(const std::string& mountpoint, uid_t owner,
                                  std::string_view request) {
    constexpr int kPatience_s = 30;
    return ask(mountpoint, owner, request, kPatience_s);
}

}  // namespace extencfs::daemon
