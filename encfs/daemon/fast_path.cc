// SPDX-License-Identifier: Apache-2.0
#include "encfs/daemon/fast_path.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <optional>
#include <span>
#include <thread>

#include "crypto/random.h"
#include "encfs/lower/fd.h"
#include "encfs/meta/bpf_sink.h"
#include "encfs/meta/delegation_client.h"
#include "encfs/meta/loader.h"
#include "encfs/meta/records.h"

namespace extencfs::daemon {

namespace {

using Json = nlohmann::ordered_json;
using meta::KernelFastPath;

constexpr std::chrono::seconds kBetweenDenials{1};
// Uids and gids end before this one.
constexpr uid_t kNobodyAtAll = static_cast<uid_t>(-1);
// What to do, after a reason in parentheses.
constexpr const char* kSeeReadme = "); see \"Kernel fast path\" in the README";
constexpr const char* kLeaveRulesOut =
    "); leave --allow-uid, --allow-gid, --deny-root and --guard-lower out";

struct Named {
    unsigned opcode;  // include/uapi/linux/fuse.h
    const char* name;
};
constexpr Named kOpcodes[] = {
    {1, "LOOKUP"},       {3, "GETATTR"},  {4, "SETATTR"},   {5, "READLINK"},  {13, "LINK"},
    {14, "OPEN"},        {17, "STATFS"},  {21, "SETXATTR"}, {22, "GETXATTR"}, {23, "LISTXATTR"},
    {24, "REMOVEXATTR"}, {27, "OPENDIR"}, {34, "ACCESS"},   {52, "STATX"}};

Json by_opcode(const std::array<std::uint64_t, XF_OPCODES>& counts) {
    Json json = Json::object();
    for (unsigned opcode = 0; opcode < counts.size(); ++opcode) {
        if (counts[opcode] == 0) continue;
        const auto* known = std::ranges::find(kOpcodes, opcode, &Named::opcode);
        json[known != std::end(kOpcodes) ? known->name : "opcode " + std::to_string(opcode)] =
            counts[opcode];
    }
    return json;
}

std::string joined(const std::vector<std::string>& sentences) {
    std::string all;
    for (const auto& sentence : sentences) all += (all.empty() ? "" : "; ") + sentence;
    return all;
}

// As many of each record as fit.
std::uint32_t records_in(unsigned mb) {
    constexpr std::uint64_t kPair = sizeof(xf_node) + sizeof(xf_bucket);
    return static_cast<std::uint32_t>(std::bit_floor((std::uint64_t{mb} << 20) / kPair));
}

std::chrono::nanoseconds nanoseconds_of(double seconds) {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
}

std::optional<meta::FastPathConfig> configure(const fuse::MountOptions& mount, unsigned map_mb) {
    meta::FastPathConfig config;
    config.nodes = config.buckets = records_in(map_mb);
    if (!crypto::fill_random(std::as_writable_bytes(std::span(config.tag_key))))
        return std::nullopt;
    const auto times = fuse::cache_times(mount);
    config.entry_timeout = nanoseconds_of(times.entry_s);
    config.negative_timeout = nanoseconds_of(times.negative_s);
    config.xattr_namespaces = XF_NS_USER | XF_NS_TRUSTED;
    return config;
}

std::unexpected<Failure> cannot_open(int error) {
    return fail(FailureKind::kFastPath, "the mount's own directory cannot be opened (",
                errno_text(error), "); try again, or without the kernel fast path");
}

// Loaded by this process, or for it.
struct Loaded {
    std::unique_ptr<meta::KernelAnswers> answers;
    KernelFastPath* own = nullptr;  // the same, where it is this process's: only that takes rules
};

meta::FastPathResult<Loaded> load(const meta::FastPathConfig& config, bool delegated) {
    if (delegated) {
        auto opened = meta::DelegatedFastPath::open(config);
        if (!opened) return std::unexpected(opened.error());
        return Loaded{std::move(*opened)};
    }
    auto own = KernelFastPath::load(config);
    if (!own) return std::unexpected(own.error());
    auto kept = std::make_unique<KernelFastPath>(std::move(*own));
    KernelFastPath* const same = kept.get();
    return Loaded{std::move(kept), same};
}

}  // namespace

struct FastPath::State {
    Loaded kernel;
    bool demanded = false;
    std::unique_ptr<meta::Records> records;
    std::shared_ptr<meta::BpfSink> sink;
    AccessRules rules;

    mutable std::mutex mutex;  // the loader has one caller at a time; guards the note too
    std::string note;          // what went wrong later
    bool was_attached = false;
    std::condition_variable stopped;
    bool stopping = false;
    std::thread teller;  // of refusals

    void tell_refusals(Log& log);
    void stop();
};

void FastPath::State::tell_refusals(Log& log) {
    std::unique_lock lock(mutex);
    while (!stopping) {
        stopped.wait_for(lock, kBetweenDenials, [this] { return stopping; });
        kernel.own->drain_denials([&log](const xf_denial& denial) {
            const std::string_view command(denial.comm, ::strnlen(denial.comm, sizeof denial.comm));
            log.write(LogLevel::kWarning, "denied", "refused uid {}, pid {} ({}): {}", denial.uid,
                      denial.tgid, command, meta::hook_name(denial.hook));
        });
    }
}

void FastPath::State::stop() {
    {
        std::lock_guard lock(mutex);
        stopping = true;
        was_attached = false;
        kernel.answers->detach();
    }
    stopped.notify_all();
    if (teller.joinable()) teller.join();
}

FastPath::FastPath(std::unique_ptr<State> state) : state_(std::move(state)) {}

FastPath::~FastPath() {
    state_->stop();
}

Outcome<std::unique_ptr<FastPath>> FastPath::make(const fuse::MountOptions& mount,
                                                  const AccessRules& rules, unsigned map_mb,
                                                  std::vector<std::string>& notes) {
    using fuse::Mode;
    const bool demanded = mount.mode == Mode::kExtfuse;
    bool answers = demanded || (mount.mode == Mode::kAuto && !mount.shared);
    if (demanded && mount.shared)
        return fail(FailureKind::kFastPath,
                    "--mode extfuse cannot be had with --shared, where nobody tells of changes; "
                    "leave one of them out");
    if (!answers && !rules.any()) return nullptr;
    const auto probe = KernelFastPath::probe();
    // Rules are for root, who loads by himself.
    const bool delegated = answers && !rules.any() && probe.could_be_delegated();
    if (answers && !probe.metadata.empty() && !delegated) {
        if (demanded)
            return fail(FailureKind::kFastPath, "the kernel fast path cannot be had (",
                        joined(probe.metadata), kSeeReadme);
        notes.push_back("extfuse: " + probe.metadata.front());
        answers = false;
    }
    if (rules.any() && !probe.access.empty())
        return fail(FailureKind::kFastPath, "the kernel cannot refuse anybody here (",
                    joined(probe.access), kLeaveRulesOut);
    if (!answers && !rules.any()) return nullptr;

    auto config = configure(mount, map_mb);
    if (!config) return fail(FailureKind::kOther, "the kernel gives no random numbers; try again");
    config->metadata = answers;
    config->access = rules.any();
    auto kernel = load(*config, delegated);
    if (!kernel) {
        if (demanded || rules.any())
            return fail(FailureKind::kFastPath, "the kernel fast path cannot be ",
                        delegated ? "had (" : "loaded (", kernel.error(), kSeeReadme);
        notes.push_back("extfuse: " + kernel.error());
        return nullptr;
    }
    auto state = std::make_unique<State>();
    state->rules = rules;
    state->kernel = std::move(*kernel);
    state->demanded = demanded;
    if (answers) {
        meta::RecordSettings settings;
        settings.tag_key = config->tag_key;
        settings.attr_valid_s = static_cast<std::uint64_t>(fuse::cache_times(mount).attr_s);
        settings.always_absent = meta::kSecurityXattrs;
        state->records = std::make_unique<meta::Records>(
            state->kernel.answers->nodes(), state->kernel.answers->buckets(), settings);
        state->sink = std::make_shared<meta::BpfSink>(*state->records, config->nodes / 2);
    }
    return std::unique_ptr<FastPath>(new FastPath(std::move(state)));
}

std::shared_ptr<core::MetadataSink> FastPath::sink() const {
    return state_->sink;
}

Outcome<void> FastPath::enforce(const std::string& mountpoint, int lower_dir, Log& log) {
    State& state = *state_;
    const AccessRules& rules = state.rules;
    if (!rules.any()) return {};
    // Without a request: the mount is not served yet.
    const lower::Fd top(::open(mountpoint.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!top) return cannot_open(errno);
    meta::AccessPolicy policy;
    policy.owner = ::geteuid();
    // Whoever denies root means a mount of root's, too.
    if (policy.owner == 0 && rules.deny_root) policy.owner = kNobodyAtAll;
    policy.deny_root = rules.deny_root;
    policy.allow_uids = rules.allow_uids;
    policy.allow_gids = rules.allow_gids;
    policy.lower_dir = rules.guard_lower ? lower_dir : -1;
    std::lock_guard lock(state.mutex);
    if (auto set = state.kernel.own->set_policy(top.get(), policy); !set)
        return fail(FailureKind::kFastPath, "the kernel does not take the rules of access (",
                    set.error(), kLeaveRulesOut);
    state.teller = std::thread([&state, &log] { state.tell_refusals(log); });
    return {};
}

Outcome<void> FastPath::attach(const std::string& mountpoint) {
    State& state = *state_;
    if (!state.sink) return {};
    const lower::Fd top(::open(mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!top) return cannot_open(errno);
    std::lock_guard lock(state.mutex);
    const auto attached = state.kernel.answers->attach(top.get());
    state.was_attached = attached.has_value();
    if (attached) return {};
    if (state.demanded || state.kernel.own != nullptr)
        return fail(FailureKind::kFastPath, "the kernel fast path cannot be attached (",
                    attached.error(), kSeeReadme);
    state.note = "extfuse: " + attached.error();
    return {};
}

void FastPath::detach() {
    state_->stop();
}

std::vector<std::string> FastPath::notes() const {
    std::lock_guard lock(state_->mutex);
    if (!state_->note.empty()) return {state_->note};
    if (state_->was_attached && !state_->kernel.answers->attached())
        return {"extfuse: extencfs fastpath-service has ended; the next mount has it again"};
    return {};
}

void FastPath::add_to(Json& stats) const {
    std::lock_guard lock(state_->mutex);
    const meta::KernelAnswers& kernel = *state_->kernel.answers;
    if (kernel.attached()) stats["mode"] = "extfuse";
    stats["map_bytes"] = kernel.map_bytes();
    stats["map_entries"] = kernel.map_entries();
    if (const auto counters = kernel.counters()) {
        stats["served_in_kernel"] = by_opcode(counters->served);
        stats["denied_in_kernel"] = by_opcode(counters->denied);
    }
}

}  // namespace extencfs::daemon
