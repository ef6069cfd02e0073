// SPDX-License-Identifier: Apache-2.0
// The daemon's control socket: one Unix stream socket for each mount, mode 0600, named after the
// mountpoint, in the user's runtime directory. A client sends one line; the daemon answers one line
// of JSON and closes. Only the mount's owner and root are answered.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "encfs/daemon/failure.h"
#include "encfs/lower/fd.h"

namespace extencfs::daemon {

// The socket directories that a daemon of `uid` may use, best first: /run/extencfs for root;
// otherwise $XDG_RUNTIME_DIR/extencfs (of the caller only), /run/user/UID/extencfs; for everybody
// /tmp/extencfs-UID, taken only when it is owned by `uid` and closed to others.
std::vector<std::string> control_directories(uid_t uid);
// The socket's file name: 32 hexadecimal digits of a hash of the absolute mountpoint.
std::string control_socket_name(const std::string& mountpoint);

struct ControlReply {
    std::string json;  // one line, without newline
    // Keep the connection open until the daemon ends: the client sees the end of it as end of file.
    bool hold_until_exit = false;
    // Instead: is given the connection once the line is sent, and comes back soon.
    std::function<void(lower::Fd client)> take_over = {};
};
using ControlHandler = std::function<ControlReply(std::string_view request)>;

// Answers requests on its own thread until destroyed; the handler runs on that thread, one request
// at a time. A client that sends or reads nothing is dropped after kClientPatience_ms.
class ControlServer {
  public:
    // `mountpoint`: absolute, resolved. Removes a socket that no daemon answers on.
    // ERRORS: kControl (no directory can be used), kMountpoint (a daemon already serves it).
    static Outcome<std::unique_ptr<ControlServer>> start(const std::string& mountpoint,
                                                         ControlHandler handler);
    // Stops the thread and removes the socket; held connections stay open until the process ends.
    ~ControlServer();
    ControlServer(const ControlServer&) = delete;
    ControlServer& operator=(const ControlServer&) = delete;

    const std::string& socket_path() const { return path_; }
    static constexpr int kClientPatience_ms = 2000;

  private:
    ControlServer() = default;
    void serve();
    void answer(lower::Fd client);

    std::string path_;
    ControlHandler handler_;
    lower::Fd listener_;
    lower::Fd stop_;  // eventfd
    std::thread thread_;
};

// Asks the daemon of `mountpoint` (absolute, resolved; mounted by `owner`).
// kUntilExit: after the answer, wait until the daemon has ended, `patience_s` at most, and ask
// `still` each second whether there is sense in that; its failure is returned.
// ERRORS: kNotMounted (no daemon answers there), kControl (it answers no sense, or not in time).
enum class Wait : bool { kForAnswer = false, kUntilExit = true };
using StillWaiting = std::function<Outcome<void>()>;
Outcome<std::string> control_request(const std::string& mountpoint, uid_t owner,
                                     std::string_view request, Wait wait = Wait::kForAnswer,
                                     int patience_s = 600, const StillWaiting& still = {});

// A longer conversation with that daemon, after its answer to `request`: a connected socket, and
// that answer. ERRORS: as control_request().
struct ControlTalk {
    lower::Fd socket;
    std::string answer;
};
Outcome<ControlTalk> control_talk(const std::string& mountpoint, uid_t owner,
                                  std::string_view request);

}  // namespace extencfs::daemon
