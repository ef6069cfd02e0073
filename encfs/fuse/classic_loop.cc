// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/classic_loop.h"

#include <linux/fuse.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "encfs/fuse/scheduler.h"

namespace extencfs::fuse {

namespace {

constexpr unsigned kReceivers = 8;
// From here on encryption takes longer than waking another thread.
constexpr std::uint32_t kLongBytes = 64 * 1024;
// Where the client runs costs a few microseconds to find out.
constexpr unsigned kRequestsBetweenLooks = 32;
// Each holds the largest write.
constexpr std::size_t kSpares = 4;
constexpr std::chrono::milliseconds kBetweenKicks{5};
// Interrupts a receiver's wait; ignored by default, and nothing else in this process uses it.
constexpr int kKick = SIGURG;

void do_nothing(int) {}

void install_kick() {
    struct sigaction action {};
    action.sa_handler = do_nothing;  // without SA_RESTART: the wait ends with EINTR
    ::sigaction(kKick, &action, nullptr);
}

void accept_kick() {
    sigset_t set;
    ::sigemptyset(&set);
    ::sigaddset(&set, kKick);
    ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

template <class In>
In body_of(const struct fuse_buf& request) {
    In in{};
    const std::size_t room = request.size - sizeof(struct fuse_in_header);
    std::memcpy(&in, static_cast<const char*>(request.mem) + sizeof(struct fuse_in_header),
                std::min(room, sizeof in));
    return in;
}

struct fuse_in_header header_of(const struct fuse_buf& request) {
    struct fuse_in_header header {};
    std::memcpy(&header, request.mem, std::min(request.size, sizeof header));
    return header;
}

bool takes_long(const struct fuse_buf& request) {
    switch (header_of(request).opcode) {
        case FUSE_READ:
            return body_of<struct fuse_read_in>(request).size >= kLongBytes;
        case FUSE_WRITE:
            return request.size >= kLongBytes;
        case FUSE_FLUSH:
        case FUSE_RELEASE:
        case FUSE_FSYNC:
        case FUSE_FSYNCDIR:
        case FUSE_FALLOCATE:
        case FUSE_COPY_FILE_RANGE:
            return true;
        default:
            return false;
    }
}

}  // namespace

struct ClassicLoop::Request {
    struct fuse_buf buf {};
    Request() = default;
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;
    ~Request() { ::free(buf.mem); }  // which libfuse allocated
};

ClassicLoop::ClassicLoop(struct fuse_session* session, CpuHandoff* handoff, WorkerPool& pool)
    : session_(session), handoff_(handoff), pool_(pool) {
    CPU_ZERO(&allowed_);
    ::sched_getaffinity(0, sizeof allowed_, &allowed_);
    if (handoff_ == nullptr) return;
    handoff_->watch_also({[this] { return watch_.falls_behind(); },
                          [this](bool yielding) {
                              if (!yielding) let_all_receive();
                          }});
}

ClassicLoop::~ClassicLoop() {
    if (handoff_ != nullptr) handoff_->stop();
}

int ClassicLoop::run() {
    install_kick();
    for (unsigned i = 0; i < kReceivers; ++i) receivers_.push_back(std::make_unique<Receiver>());
    for (auto& receiver : receivers_)
        receiver->thread = std::thread([this, &self = *receiver] { serve(self); });
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return exiting_; });
        while (!std::ranges::all_of(receivers_, [](const auto& each) { return each->ended; })) {
            for (auto& receiver : receivers_)
                if (receiver->waits) ::pthread_kill(receiver->thread.native_handle(), kKick);
            changed_.wait_for(lock, kBetweenKicks);
        }
    }
    for (auto& receiver : receivers_) receiver->thread.join();
    return error_;
}

void ClassicLoop::stop() {
    fuse_session_exit(session_);
    std::lock_guard lock(mutex_);
    exiting_ = true;
    changed_.notify_all();
}

void ClassicLoop::serve(Receiver& self) {
    accept_kick();
    self.id = ::gettid();
    auto request = std::make_unique<Request>();
    for (;;) {
        const bool leading = take_turn(self);
        if (fuse_session_exited(session_)) break;
        self.waits = true;
        const int received = fuse_session_receive_buf(session_, &request->buf);
        self.waits = false;
        if (received == -EINTR || received == -EAGAIN) continue;
        if (received < 0) error_ = -received;
        if (received <= 0) break;
        if (leading) {
            lead(self, request);
        } else {
            fuse_session_process_buf(session_, &request->buf);
        }
    }
    step_down(self);
    fuse_session_exit(session_);  // one that ends, ends all
    std::lock_guard lock(mutex_);
    self.ended = exiting_ = true;
    changed_.notify_all();
}

bool ClassicLoop::take_turn(Receiver& self) {
    if (!one_leads()) {
        step_down(self);
        return false;
    }
    if (self.leads) return true;
    {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return !one_leads() || leader_ == nullptr || exiting_; });
        if (!one_leads() || exiting_) return false;
        leader_ = &self;
        watch_.reset();
    }
    self.leads = true;
    self.processor = -1;
    handoff_->join();
    return true;
}

void ClassicLoop::step_down(Receiver& self) {
    if (!self.leads) return;
    self.leads = false;
    handoff_->leave();
    std::lock_guard lock(mutex_);
    ::sched_setaffinity(self.id, sizeof allowed_, &allowed_);
    leader_ = nullptr;
    changed_.notify_all();
}

void ClassicLoop::let_all_receive() {
    std::lock_guard lock(mutex_);
    if (leader_ != nullptr) ::sched_setaffinity(leader_->id, sizeof allowed_, &allowed_);
    changed_.notify_all();
}

void ClassicLoop::lead(Receiver& self, std::unique_ptr<Request>& request) {
    const auto header = header_of(request->buf);
    const auto client = static_cast<pid_t>(header.pid);  // 0: the kernel, of its own accord
    const bool forgets = header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET;
    watch_.begin();
    // Nobody waits for a FORGET, and a client by itself sends one request at a time.
    if (self.looked_beside.has_value())
        watch_.sample(self.more_waited && !forgets &&
                      (client == 0 || client != *self.looked_beside));
    self.looked_beside.reset();
    if (++self.received % kRequestsBetweenLooks == 0) {
        self.looked_beside = client;
        self.more_waited = more_waiting();
        follow_client(self, client);
    }
    if (takes_long(request->buf)) {
        pool_.submit([this, taken = std::move(request)]() mutable {
            fuse_session_process_buf(session_, &taken->buf);
            give_back(std::move(taken));
        });
        request = spare_request();
    } else {
        fuse_session_process_buf(session_, &request->buf);
    }
    watch_.end();
}

void ClassicLoop::follow_client(Receiver& self, pid_t client) {
    const int processor = client != 0 ? processor_of(client) : -1;
    if (processor < 0 || processor == self.processor || !CPU_ISSET(processor, &allowed_)) return;
    cpu_set_t only{};
    CPU_ZERO(&only);
    CPU_SET(processor, &only);
    if (::sched_setaffinity(0, sizeof only, &only) == 0) self.processor = processor;
}

std::unique_ptr<ClassicLoop::Request> ClassicLoop::spare_request() {
    std::lock_guard lock(mutex_);
    if (spares_.empty()) return std::make_unique<Request>();
    auto request = std::move(spares_.back());
    spares_.pop_back();
    return request;
}

void ClassicLoop::give_back(std::unique_ptr<Request> request) {
    std::lock_guard lock(mutex_);
    if (spares_.size() < kSpares) spares_.push_back(std::move(request));
}

bool ClassicLoop::more_waiting() const {
    struct pollfd device = {fuse_session_fd(session_), POLLIN, 0};
    return ::poll(&device, 1, 0) > 0;
}

}  // namespace extencfs::fuse
