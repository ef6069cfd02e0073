// SPDX-License-Identifier: Apache-2.0
#include "encfs/fuse/session.h"

#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "encfs/fuse/mount_tuning.h"
#include "encfs/fuse/scheduler.h"
#include "encfs/fuse/state.h"

namespace extencfs::fuse {

namespace {

constexpr unsigned kPoolThreads = 2;
// Beside the rings, for INIT and FORGET, which come over /dev/fuse all the same (and INTERRUPT,
// which is switched off).
constexpr unsigned kLibraryThreads = 1;
constexpr const char* kUringParameter = "/sys/module/fuse/parameters/enable_uring";

void op_init(void* user, struct fuse_conn_info* conn) {
    auto& state = *static_cast<Session::State*>(user);
    state.stats.count(Opcode::kInit);
    state.features = negotiate(conn, state.options);
    if (state.handoff) {
        state.features.on.emplace_back("cpu_handoff");
    } else if (state.options.mode != Mode::kRegular) {
        state.features.notes.emplace_back("cpu_handoff: needs CAP_SYS_NICE");
    }
}

// A rotation of keys may still be at work beside the session that ends.
void end_notifier(Session::State& state) {
    std::unique_ptr<WorkerPool> ending;
    {
        const std::lock_guard lock(state.notifier_mutex);
        ending = std::move(state.notifier);
    }
}

void op_destroy(void* user) {
    auto& state = *static_cast<Session::State*>(user);
    state.stats.count(Opcode::kDestroy);
    // What is still in the pools belongs to requests of this session.
    end_notifier(state);
    state.pool.reset();
}

bool uring_is_allowed() {
    std::ifstream file(kUringParameter);
    std::string value;
    return file >> value && (value == "Y" || value == "1");
}

std::string join(const std::vector<std::string>& options) {
    std::string out;
    for (const auto& option : options) {
        if (!out.empty()) out += ',';
        for (char c : option) {
            if (c == ',' && &option == &options[0]) out += '\\';  // fsname may hold a comma
            out += c;
        }
    }
    return out;
}

std::string mount_options(const MountOptions& options, bool uring) {
    std::vector<std::string> list{"fsname=" + options.fsname, "subtype=" + options.subtype,
                                  "default_permissions"};
    list.emplace_back(options.read_only ? "ro" : "rw");
    if (options.allow_other) list.emplace_back("allow_other");
    list.emplace_back(options.suid ? "suid" : "nosuid");
    list.emplace_back(options.dev ? "dev" : "nodev");
    if (options.noexec) list.emplace_back("noexec");
    list.insert(list.end(), options.extra_kernel_options.begin(),
                options.extra_kernel_options.end());
    if (uring) list.emplace_back("io_uring");
    return join(list);
}

// Frees what fuse_opt allocated.
struct Arguments {
    struct fuse_args args = FUSE_ARGS_INIT(0, nullptr);
    ~Arguments() { fuse_opt_free_args(&args); }
};

#ifdef EXTENCFS_LIBFUSE_BUNDLED
constexpr bool kLibraryHasUring = true;
#else
constexpr bool kLibraryHasUring = false;
#endif

// Returns 0 or an errno.
int run_library_loop(struct fuse_session* session) {
    struct fuse_loop_config* config = fuse_loop_cfg_create();
    fuse_loop_cfg_set_clone_fd(config, 1);
    fuse_loop_cfg_set_max_threads(config, kLibraryThreads);
    const int result = fuse_session_loop_mt(session, config);
    fuse_loop_cfg_destroy(config);
    return result < 0 ? -result : 0;
}

struct fuse_lowlevel_ops make_operations() {
    struct fuse_lowlevel_ops ops {};
    ops.init = op_init;
    ops.destroy = op_destroy;
    add_name_operations(ops);
    add_data_operations(ops);
    add_directory_operations(ops);
    add_xattr_operations(ops);
    return ops;
}

}  // namespace

const struct fuse_lowlevel_ops kOperations = make_operations();

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}

std::expected<std::unique_ptr<Session>, SessionError> Session::mount(core::Filesystem& fs,
                                                                     const MountOptions& options) {
    const bool allowed = kLibraryHasUring && uring_is_allowed();
    if (options.transport == Transport::kUring && !allowed) {
        return std::unexpected(SessionError{
            0, kLibraryHasUring
                   ? "FUSE over io_uring is not allowed by the kernel; as root write Y to " +
                         std::string(kUringParameter) + " or leave --transport uring out"
                   : "this build has no FUSE over io_uring; run tools/build-libfuse and build "
                     "again, or leave --transport uring out"});
    }
    const bool uring = allowed && options.transport != Transport::kClassic;
    auto state = std::make_unique<State>(fs, options);
    // What libfuse has to say comes back to the user as one sentence of ours.
    if (!options.debug) fuse_set_log_func([](enum fuse_log_level, const char*, va_list) {});
    Arguments arguments;
    if (fuse_opt_add_arg(&arguments.args, "extencfs") != 0 ||
        fuse_opt_add_arg(&arguments.args, "-o") != 0 ||
        fuse_opt_add_arg(&arguments.args, mount_options(options, uring).c_str()) != 0 ||
        (options.debug && fuse_opt_add_arg(&arguments.args, "-d") != 0))
        return std::unexpected(SessionError{0, "memory ran out; try again"});
    state->session = fuse_session_new(&arguments.args,
                                      options.gate != nullptr ? &gated_operations() : &kOperations,
                                      sizeof kOperations, state.get());
    if (state->session == nullptr)
        return std::unexpected(SessionError{0, "libfuse refused a mount option; check -o"});
    if (fuse_session_mount(state->session, options.mountpoint.c_str()) != 0) {
        fuse_session_destroy(state->session);
        state->session = nullptr;
        return std::unexpected(SessionError{
            10, "cannot mount at " + options.mountpoint +
                    "; check that you may use /dev/fuse and fusermount3 (package fuse3), and that "
                    "user_allow_other is set in /etc/fuse.conf if you asked for allow_other"});
    }
    state->mounted = true;
    state->pool = std::make_unique<WorkerPool>(kPoolThreads);
    state->notifier = std::make_unique<WorkerPool>(1);
    if (options.mode != Mode::kRegular && can_yield())
        state->handoff = std::make_unique<CpuHandoff>();
    if (!uring)
        state->loop =
            std::make_unique<ClassicLoop>(state->session, state->handoff.get(), *state->pool);
    State* raw = state.get();
    // Off the ring's threads: the kernel may wait for a request of the same processor.
    const auto notify = [raw](std::function<void()> what) {
        const std::lock_guard lock(raw->notifier_mutex);
        if (raw->notifier) raw->notifier->submit(std::move(what));
    };
    fs.set_on_stale(
        [raw, notify](core::NodeId parent, const std::string& name) {
            notify([raw, parent, name] {
                fuse_lowlevel_notify_inval_entry(raw->session, parent, name.data(), name.size());
            });
        },
        [raw, notify](core::NodeId node) {
            // A negative offset: no page.
            notify([raw, node] { fuse_lowlevel_notify_inval_inode(raw->session, node, -1, 0); });
        });
    return std::make_unique<Session>(std::move(state));
}

Session::~Session() {
    if (!state_) return;
    if (state_->tuner.joinable()) state_->tuner.join();
    if (state_->session != nullptr) {
        if (state_->mounted) fuse_session_unmount(state_->session);
        end_notifier(*state_);
        state_->pool.reset();
        if (state_->handoff) state_->handoff->stop();
        fuse_session_destroy(state_->session);
    }
    state_->fs.set_on_stale({});
}

int Session::run(std::function<void()> ready) {
    // The first request that is answered is INIT; a request of our own tells when that has happened
    // without touching the mount from this thread.
    State& state = *state_;
    state.tuner = std::thread([&state, ready = std::move(ready)] {
        struct statfs unused {};
        // Waits in the kernel until INIT is answered; ends also when the mount is gone.
        const int r = ::statfs(state.options.mountpoint.c_str(), &unused);
        if (r != 0 && errno == ENOTCONN) return;
        if (state.features.writeback) {
            auto note = tune_page_cache(state.options.mountpoint);
            std::lock_guard lock(state.notes_mutex);
            if (!note.empty()) state.features.notes.push_back(std::move(note));
        }
        state.stats.reset();
        ready();
    });
    const int result = state.loop ? state.loop->run() : run_library_loop(state.session);
    if (state.tuner.joinable()) state.tuner.join();
    return result;
}

void Session::request_exit() {
    // The kernel may hold a notification up until a request is served, which nobody does
    // afterwards.
    end_notifier(*state_);
    if (state_->loop) {
        state_->loop->stop();
    } else {
        fuse_session_exit(state_->session);
    }
}

bool Session::unmount(bool lazy) {
    if (!state_->mounted) return true;
    const auto& where = state_->options.mountpoint;
    if (::geteuid() == 0) {
        if (::umount2(where.c_str(), lazy ? MNT_DETACH : 0) != 0 && errno != EINVAL) return false;
    } else {
        const pid_t child = ::fork();
        if (child < 0) return false;
        if (child == 0) {
            ::execlp("fusermount3", "fusermount3", lazy ? "-uz" : "-u", "-q", "--", where.c_str(),
                     static_cast<char*>(nullptr));
            ::_exit(127);
        }
        int status = 0;
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return false;
    }
    state_->mounted = false;
    return true;
}

std::string Session::stats_json() const {
    using Json = nlohmann::ordered_json;
    const State& state = *state_;
    Json requests = Json::object();
    for (auto [name, count] : state.stats.requests()) requests[std::string(name)] = count;
    const Json json{{"mode", state.options.mode == Mode::kRegular ? "regular" : "optimized"},
                    {"transport", state.features.uring ? "uring" : "classic"},
                    {"shared", state.options.shared},
                    {"requests", requests},
                    {"bytes_read", state.stats.bytes_read()},
                    {"bytes_written", state.stats.bytes_written()},
                    {"nodes", state.fs.node_count()},
                    {"cache",
                     {{"entry_timeout_s", state.features.entry_timeout_s},
                      {"attr_timeout_s", state.features.attr_timeout_s},
                      {"negative_timeout_s", state.features.negative_timeout_s}}},
                    {"cpu_handoff",
                     {{"yielding", state.handoff && state.handoff->yielding()},
                      {"withdrawn", state.handoff ? state.handoff->withdrawn() : 0}}},
                    {"features", state.features.on},
                    {"notes", feature_notes()}};
    return json.dump();
}

void Session::reset_stats() {
    state_->stats.reset();
}

std::uint64_t Session::requests_total() const {
    return state_->stats.total();
}

std::vector<std::string> Session::feature_notes() const {
    std::lock_guard lock(state_->notes_mutex);
    auto notes = state_->features.notes;
    if (!state_->features.uring && state_->options.transport != Transport::kClassic) {
        notes.push_back(kLibraryHasUring
                            ? "io_uring: off (as root write Y to " + std::string(kUringParameter) +
                                  ", on kernels >= 6.14)"
                            : "io_uring: this build has none (tools/build-libfuse)");
    }
    return notes;
}

}  // namespace extencfs::fuse
