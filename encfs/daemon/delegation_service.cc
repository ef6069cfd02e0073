// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/delegation_service.h"

#include <linux/capability.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "encfs/daemon/delegation_worker.h"
#include "encfs/daemon/log.h"
#include "encfs/lower/fd.h"
#include "encfs/meta/delegation.h"

namespace extencfs::daemon {
namespace {

using namespace meta::delegation;

// From a worker to the service, on a socket of their own. A Reply comes back for a reservation.
struct WorkerNote {
    std::uint64_t bytes;  // 0: the maps are handed out
    std::array<std::uint32_t, meta::SharedMaps::kCount> ids;
    std::uint32_t reserved;
};
static_assert(sizeof(WorkerNote) == 24);

struct Worker {
    pid_t pid;
    DelegationLedger::Ticket ticket;
    lower::Fd notes;
};

std::string why_not(const std::vector<std::string>& sentences) {
    std::string all;
    for (const auto& sentence : sentences) all += (all.empty() ? "" : "; ") + sentence;
    return all;
}

Outcome<void> check_machine() {
    const auto probe = meta::KernelFastPath::probe();
    if (!probe.metadata.empty())
        return fail(FailureKind::kFastPath, "the kernel fast path cannot be had (",
                    why_not(probe.metadata), "); see \"Kernel fast path\" in the README");
    // Once, before anybody asks: whether the verifier and the module take the programs.
    meta::FastPathConfig smallest;
    smallest.access = false;
    smallest.nodes = 2;
    smallest.buckets = 1;
    smallest.of_user = 0;
    if (const auto loaded = meta::KernelFastPath::load(smallest); !loaded)
        return fail(FailureKind::kFastPath, "the kernel fast path cannot be loaded (",
                    loaded.error(), "); see \"Kernel fast path\" in the README");
    return {};
}

std::unexpected<Failure> no_socket(const char* what, int error) {
    return fail(FailureKind::kControl, what, " ", kSocketPath, " (", errno_text(error),
                "); check that ", kSocketDirectory, " is a directory of root's");
}

Outcome<lower::Fd> listen_for_clients(const std::optional<gid_t>& group) {
    struct stat directory {};
    ::umask(022);
    if ((::mkdir(kSocketDirectory, 0755) != 0 && errno != EEXIST) ||
        ::lstat(kSocketDirectory, &directory) != 0)
        return no_socket("cannot make the directory of", errno);
    if (!S_ISDIR(directory.st_mode) || directory.st_uid != 0 || (directory.st_mode & 022) != 0)
        return no_socket("others could exchange", EPERM);
    const sockaddr_un address = socket_address();
    const auto* const name = reinterpret_cast<const sockaddr*>(&address);
    lower::Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket) return no_socket("cannot make", errno);
    if (::connect(socket.get(), name, sizeof address) == 0 || errno == EAGAIN)
        return fail(FailureKind::kControl,
                    "extencfs fastpath-service is running already; stop that "
                    "one first");
    ::unlink(kSocketPath);
    // Nobody may connect before the group is set.
    ::umask(0177);
    if (::bind(socket.get(), name, sizeof address) != 0) return no_socket("cannot make", errno);
    if ((group && ::chown(kSocketPath, 0, *group) != 0) ||
        ::chmod(kSocketPath, group ? 0660 : 0666) != 0 || ::listen(socket.get(), 128) != 0)
        return no_socket("cannot open", errno);
    return socket;
}

void drop_privileges() {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
    __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
    ::syscall(SYS_capset, &header, none);
}

class Service {
  public:
    Service(const DelegationOptions& options, lower::Fd listener, lower::Fd signals,
            const sigset_t& unblocked)
        : ledger_(options.limits),
          listener_(std::move(listener)),
          signals_(std::move(signals)),
          unblocked_(unblocked) {
        log_.set_level(LogLevel::kInfo);
    }

    void run() {
        log_.write(LogLevel::kInfo, "service", "listening on {}", kSocketPath);
        while (!stopping_) wait_once();
        for (const Worker& worker : workers_) ::kill(worker.pid, SIGKILL);
        ::unlink(kSocketPath);
        log_.write(LogLevel::kInfo, "service", "ends; {} mounts go on without the fast path",
                   workers_.size());
    }

  private:
    void wait_once() {
        std::vector<pollfd> waits{{listener_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
        for (const Worker& worker : workers_) waits.push_back({worker.notes.get(), POLLIN, 0});
        constexpr int kSweep_ms = 10'000;
        if (::poll(waits.data(), waits.size(), ledger_.lingering() != 0 ? kSweep_ms : -1) < 0)
            return;
        // Notes first: what a worker said before its end counts.
        for (std::size_t i = 2; i < waits.size(); ++i)
            if (waits[i].revents != 0) take_note(workers_[i - 2]);
        if (waits[1].revents != 0) take_signal();
        if (ledger_.lingering() != 0) ledger_.sweep(meta::map_exists);
        if (waits[0].revents != 0) accept_client();
    }

    void take_note(Worker& worker) {
        Packet packet;
        WorkerNote note{};
        if (receive(worker.notes.get(), packet, std::chrono::milliseconds(0)) !=
                Received::kPacket ||
            packet.bytes.size() != sizeof note) {
            worker.notes.reset();  // its end; poll takes -1 for nothing
            return;
        }
        std::memcpy(&note, packet.bytes.data(), sizeof note);
        if (note.bytes == 0) {
            ledger_.handed_out(worker.ticket, note.ids);
            return;
        }
        ledger_.sweep(meta::map_exists);
        const auto reserved = ledger_.reserve(worker.ticket, note.bytes);
        (void)send(worker.notes.get(), bytes_of(reserved ? granted() : refused(reserved.error())));
    }

    void take_signal() {
        signalfd_siginfo signal{};
        if (::read(signals_.get(), &signal, sizeof signal) != sizeof signal) return;
        if (signal.ssi_signo != SIGCHLD) {
            stopping_ = true;
            return;
        }
        for (pid_t pid = 0; (pid = ::waitpid(-1, nullptr, WNOHANG)) > 0;) {
            const auto worker = std::ranges::find(workers_, pid, &Worker::pid);
            if (worker == workers_.end()) continue;
            // It may have said something between poll and its end.
            while (worker->notes) take_note(*worker);
            ledger_.ended(worker->ticket);
            workers_.erase(worker);
        }
    }

    void accept_client() {
        lower::Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        ucred peer{};
        socklen_t size = sizeof peer;
        if (!client || ::getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0)
            return;
        // Somebody called root whom root confined must not speak for root's own mounts.
        if (peer.uid == 0) {
            (void)send(client.get(), bytes_of(refused("root's daemon needs CAP_SYS_ADMIN itself")));
            return;
        }
        const auto ticket = ledger_.admit(peer.uid, std::chrono::steady_clock::now());
        if (!ticket) {
            (void)send(client.get(), bytes_of(refused(ticket.error())));
            return;
        }
        if (!start_worker(client, peer.uid, *ticket)) {
            ledger_.ended(*ticket);
            (void)send(client.get(), bytes_of(refused("the service can start no more processes")));
        }
    }

    bool start_worker(const lower::Fd& client, uid_t user, DelegationLedger::Ticket ticket) {
        int pair[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) return false;
        lower::Fd notes(pair[0]), service(pair[1]);
        const pid_t parent = ::getpid();
        const pid_t pid = ::fork();
        if (pid < 0) return false;
        if (pid == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
            if (::getppid() != parent) ::_exit(1);
            notes.reset();
            work(client.get(), user, service.get());
            // Now, and not when the process is taken down: what was loaded goes at its end.
            ::_exit(0);
        }
        workers_.push_back({pid, ticket, std::move(notes)});
        return true;
    }

    // In the worker.
    void work(int client, uid_t user, int service) {
        workers_.clear();
        listener_.reset();
        signals_.reset();
        ::sigprocmask(SIG_SETMASK, &unblocked_, nullptr);
        if (!send(client, bytes_of(granted()))) return;
        DelegationHost host;
        host.reserve = [service](std::uint64_t bytes) -> std::expected<void, std::string> {
            const WorkerNote note{bytes, {}, 0};
            Packet packet;
            Reply reply{};
            if (!send(service, bytes_of(note)) ||
                receive(service, packet, std::chrono::seconds(10)) != Received::kPacket ||
                packet.bytes.size() != sizeof reply)
                return std::unexpected(std::string("the service is busy"));
            std::memcpy(&reply, packet.bytes.data(), sizeof reply);
            if (auto reason = reason_of(reply)) return std::unexpected(*reason);
            return {};
        };
        host.load = load_delegated;
        host.handed_out = [service](std::span<const std::uint32_t> ids) {
            WorkerNote note{};
            std::ranges::copy(ids.first(note.ids.size()), note.ids.begin());
            (void)send(service, bytes_of(note));
        };
        host.attached = [this, user] {
            drop_privileges();
            log_.write(LogLevel::kInfo, "attach", "attached for uid {}", user);
        };
        host.tell = [this, user](const std::string& sentence) {
            log_.write(LogLevel::kWarning, "worker", "uid {}: {}", user, sentence);
        };
        serve_delegation_client(client, user, host);
    }

    DelegationLedger ledger_;
    lower::Fd listener_;
    lower::Fd signals_;
    const sigset_t unblocked_;
    std::vector<Worker> workers_;
    Log log_;
    bool stopping_ = false;
};

}  // namespace

Outcome<void> serve_delegation(const DelegationOptions& options) {
    // Workers hold the keys of their clients' names.
    ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (auto fit = check_machine(); !fit) return fit;
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        ::setrlimit(RLIMIT_NOFILE, &files);
    }
    sigset_t wanted, before;
    sigemptyset(&wanted);
    for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&wanted, signal);
    ::sigprocmask(SIG_BLOCK, &wanted, &before);
    lower::Fd signals(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals) return fail(FailureKind::kOther, errno_text(errno), "; try again");
    auto listener = listen_for_clients(options.group);
    if (!listener) return std::unexpected(listener.error());
    Service(options, std::move(*listener), std::move(signals), before).run();
    return {};
}

}  // namespace extencfs::daemon
