// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/talk.h"

#include <sys/socket.h>
#include <sys/time.h>

#include <array>
#include <cerrno>
#include <cstdint>

namespace extencfs::daemon {
namespace {

constexpr std::size_t kLongestLine = 4 << 20;
// Who takes nothing for so long is not waited for.
constexpr time_t kPatience_s = 2;

bool send_all(int fd, const char* data, std::size_t size) {
    while (size > 0) {
        const ssize_t sent = ::send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        data += sent;
        size -= static_cast<std::size_t>(sent);
    }
    return true;
}

bool receive_all(int fd, MutBytes out) {
    while (!out.empty()) {
        const ssize_t got = ::recv(fd, out.data(), out.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        out = out.subspan(static_cast<std::size_t>(got));
    }
    return true;
}

}  // namespace

Talk::Talk(lower::Fd socket) : socket_(std::move(socket)) {
    const timeval sending{kPatience_s, 0};
    const timeval forever{0, 0};
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &sending, sizeof sending);
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &forever, sizeof forever);
}

bool Talk::say(std::string_view line) {
    const std::string whole = std::string(line) + "\n";
    return send_all(socket_.get(), whole.data(), whole.size());
}

std::optional<std::string> Talk::hear() {
    for (;;) {
        if (const std::size_t end = heard_.find('\n'); end != std::string::npos) {
            std::string line = heard_.substr(0, end);
            heard_.erase(0, end + 1);
            return line;
        }
        if (heard_.size() > kLongestLine) return std::nullopt;
        std::array<char, 4096> buffer;
        const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return std::nullopt;
        heard_.append(buffer.data(), static_cast<std::size_t>(got));
    }
}

bool Talk::give(Bytes frame) {
    std::array<char, 4> size;
    for (std::size_t i = 0; i < size.size(); ++i)
        size[i] = static_cast<char>(frame.size() >> (8 * i) & 0xff);
    return send_all(socket_.get(), size.data(), size.size()) &&
           send_all(socket_.get(), reinterpret_cast<const char*>(frame.data()), frame.size());
}

std::optional<crypto::SecretBytes> Talk::take(std::size_t most) {
    std::array<std::byte, 4> bytes;
    if (!receive_all(socket_.get(), bytes)) return std::nullopt;
    std::size_t size = 0;
    for (std::size_t i = bytes.size(); i-- > 0;)
        size = size << 8 | std::to_integer<std::size_t>(bytes[i]);
    if (size > most) return std::nullopt;
    crypto::SecretBytes frame(size);
    if (!receive_all(socket_.get(), frame.mutable_bytes())) return std::nullopt;
    return frame;
}

void Talk::stop_listening() {
    ::shutdown(socket_.get(), SHUT_RD);
}

}  // namespace extencfs::daemon
