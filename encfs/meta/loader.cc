// SPDX-License-Identifier: Apache-2.0
#include "encfs/meta/loader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "encfs/meta/loader_libbpf.h"

namespace extencfs::meta {

namespace {

// struct extfuse_ops as bpf/vmlinux_min.h has it; libbpf puts each member where the module wants.
constexpr const char* kMembers[] = {"lookup",    "getattr", "statx", "getxattr",
                                    "listxattr", "access",  "open",  "opendir"};
struct OpsImage {
    bpf_program* members[std::size(kMembers)];
    std::uint32_t fd;
    std::uint32_t flags;
    std::uint32_t uid;
};
// What an older module does not have, and then does not check.
constexpr const char* kOfUserMembers[] = {"flags", "uid"};
constexpr std::uint32_t kOfUser = 1;  // EXTFUSE_OPS_OF_USER of kernel/uapi/extfuse.h

// Maps that both objects declare, and that exist once (policy.bpf.h).
constexpr const char* kSharedMaps[] = {"policy", "allow_uid", "denials", "denial_log", "log_rate"};

// struct learn of access.bpf.c.
struct Learn {
    std::uint32_t tid;
    std::uint32_t dev;
    std::uint64_t ino;
};

void set_seconds(std::chrono::nanoseconds time, __u64& seconds, __u32& nanoseconds) {
    const auto whole = std::chrono::floor<std::chrono::seconds>(time);
    seconds = whole.count();
    nanoseconds = (time - whole).count();
}

xf_config wire_config(const FastPathConfig& config) {
    xf_config wire{};
    wire.abi_version = XF_ABI_VERSION;
    wire.node_count = config.nodes;
    wire.bucket_mask = config.buckets - 1;
    wire.xattr_namespaces = config.xattr_namespaces;
    wire.tag_key[0] = config.tag_key[0];
    wire.tag_key[1] = config.tag_key[1];
    set_seconds(config.entry_timeout, wire.entry_valid, wire.entry_valid_nsec);
    set_seconds(config.negative_timeout, wire.negative_valid, wire.negative_valid_nsec);
    return wire;
}

bool is_shared(const bpf_map* map) {
    return std::ranges::any_of(
        kSharedMaps, [map](const char* name) { return !std::strcmp(name, bpf_map__name(map)); });
}

std::size_t bytes_of_maps(bpf_object* object, bool with_shared) {
    std::size_t bytes = 0;
    const int processors = std::max(libbpf_num_possible_cpus(), 1);
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object) {
        if (is_shared(map) && !with_shared) continue;
        const std::size_t one =
            std::size_t{bpf_map__max_entries(map)} *
            (bpf_map__type(map) == BPF_MAP_TYPE_RINGBUF ? 1 : bpf_map__value_size(map));
        bytes += bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY ? one * processors : one;
    }
    return bytes;
}

}  // namespace

struct KernelFastPath::State {
    xf_config config{};
    // Members are destroyed from the last to the first: links, mappings, objects.
    ObjectPtr metadata;
    ObjectPtr access;
    // The number in extfuse_ops.fd, fixed at load. Holds nothing but while a program is attached.
    Descriptor mount_slot;
    MappedArray nodes;
    MappedArray buckets;
    RingPtr denial_log;
    const std::function<void(const xf_denial&)>* take_denial = nullptr;
    std::vector<LinkPtr> hooks;
    LinkPtr ops;

    bpf_object* any() const { return metadata ? metadata.get() : access.get(); }
    bpf_map* map(const char* name) const { return bpf_object__find_map_by_name(any(), name); }

    FastPathResult<void> load_metadata(const FastPathConfig& wanted);
    FastPathResult<void> load_access();
    FastPathResult<void> open_log();
    FastPathResult<void> attach_hooks();
    FastPathResult<Learn> learn(int fd);
    FastPathResult<void> set_allowed_uids(const std::vector<uid_t>& uids);
};

FastPathResult<void> KernelFastPath::State::load_metadata(const FastPathConfig& wanted) {
    auto opened = open_object(metadata_object(), "extfuse_meta");
    if (!opened) return std::unexpected(opened.error());
    metadata = std::move(*opened);
    bpf_object* const object = metadata.get();

    bpf_map* const nodes_map = bpf_object__find_map_by_name(object, "nodes");
    bpf_map* const buckets_map = bpf_object__find_map_by_name(object, "buckets");
    bpf_map* const ops_map = bpf_object__find_map_by_name(object, "extfuse");
    std::size_t config_size = 0, image_size = 0;
    bpf_map* const config_map = bpf_object__find_map_by_name(object, ".rodata.config");
    void* const config_value =
        config_map ? bpf_map__initial_value(config_map, &config_size) : nullptr;
    auto* const image =
        static_cast<OpsImage*>(ops_map ? bpf_map__initial_value(ops_map, &image_size) : nullptr);
    if (!nodes_map || !buckets_map || !config_value || config_size != sizeof(config) || !image ||
        image_size != sizeof(OpsImage))
        return std::unexpected(std::string("the embedded BPF programs are not of this build"));

    std::memcpy(config_value, &config, sizeof(config));
    if (bpf_map__set_max_entries(nodes_map, wanted.nodes) != 0 ||
        bpf_map__set_max_entries(buckets_map, wanted.buckets) != 0)
        return std::unexpected(std::string("cannot set the sizes of the arrays"));

    mount_slot = Descriptor(::open("/dev/null", O_PATH | O_CLOEXEC));
    if (mount_slot.get() < 0) return std::unexpected(refusal("cannot open /dev/null"));
    image->fd = mount_slot.get();
    if (wanted.of_user) {
        if (!unknown_members(kOfUserMembers).empty())
            return std::unexpected(
                std::string("the loaded module extfuse is too old to tell whose mount it is; load "
                            "a newer one"));
        image->flags = kOfUser;
        image->uid = *wanted.of_user;
    }
    // An older module: what it does not offer, the daemon answers.
    for (const std::string& unknown : unknown_members(kMembers)) {
        const auto at = std::ranges::find(kMembers, unknown) - std::begin(kMembers);
        bpf_program__set_autoload(image->members[at], false);
        image->members[at] = nullptr;
    }

    if (auto loaded = load_object(object, "cannot load the programs that answer"); !loaded)
        return loaded;
    auto mapped_nodes = MappedArray::map(bpf_map__fd(nodes_map), wanted.nodes, sizeof(xf_node));
    if (!mapped_nodes) return std::unexpected(mapped_nodes.error());
    auto mapped_buckets =
        MappedArray::map(bpf_map__fd(buckets_map), wanted.buckets, sizeof(xf_bucket));
    if (!mapped_buckets) return std::unexpected(mapped_buckets.error());
    nodes = std::move(*mapped_nodes);
    buckets = std::move(*mapped_buckets);
    return {};
}

FastPathResult<void> KernelFastPath::State::load_access() {
    auto opened = open_object(access_object(), "extfuse_access");
    if (!opened) return std::unexpected(opened.error());
    access = std::move(*opened);
    if (metadata) {
        for (const char* name : kSharedMaps) {
            const bpf_map* const shared = bpf_object__find_map_by_name(metadata.get(), name);
            bpf_map* const own = bpf_object__find_map_by_name(access.get(), name);
            if (!shared || !own || bpf_map__reuse_fd(own, bpf_map__fd(shared)) != 0)
                return std::unexpected(std::string("cannot share the map ") + name);
        }
    }
    return load_object(access.get(), "cannot load the programs that refuse");
}

FastPathResult<void> KernelFastPath::State::open_log() {
    const auto take = [](void* state, void* data, std::size_t size) {
        const auto* const self = static_cast<State*>(state);
        if (size >= sizeof(xf_denial) && self->take_denial)
            (*self->take_denial)(*static_cast<const xf_denial*>(data));
        return 0;
    };
    MessageCapture messages;
    denial_log.reset(ring_buffer__new(bpf_map__fd(map("denial_log")), take, this, nullptr));
    if (!denial_log)
        return std::unexpected(messages.failure("cannot open the log of refusals", errno));
    return {};
}

FastPathResult<KernelFastPath> KernelFastPath::load(const FastPathConfig& config) {
    if (!config.metadata && !config.access)
        return std::unexpected(std::string("neither half of the fast path is wanted"));
    if (config.nodes < 2 || !std::has_single_bit(config.nodes) ||
        !std::has_single_bit(config.buckets))
        return std::unexpected(std::string("the sizes of the fast path's arrays are not valid"));
    auto state = std::make_unique<State>();
    state->config = wire_config(config);
    if (config.metadata) {
        if (auto loaded = state->load_metadata(config); !loaded)
            return std::unexpected(loaded.error());
    }
    if (config.access) {
        if (auto loaded = state->load_access(); !loaded) return std::unexpected(loaded.error());
    }
    if (auto opened = state->open_log(); !opened) return std::unexpected(opened.error());
    return KernelFastPath(std::move(state));
}

KernelFastPath::KernelFastPath(std::unique_ptr<State> state) : state_(std::move(state)) {}
KernelFastPath::KernelFastPath(KernelFastPath&&) noexcept = default;

KernelFastPath& KernelFastPath::operator=(KernelFastPath&& other) noexcept {
    std::swap(state_, other.state_);
    return *this;
}

KernelFastPath::~KernelFastPath() {
    if (!state_) return;
    detach();
    state_->hooks.clear();
    wipe();
}

std::span<xf_node> KernelFastPath::nodes() const {
    return {static_cast<xf_node*>(state_->nodes.data()), state_->nodes.entries()};
}

std::span<xf_bucket> KernelFastPath::buckets() const {
    return {static_cast<xf_bucket*>(state_->buckets.data()), state_->buckets.entries()};
}

const xf_config& KernelFastPath::config() const {
    return state_->config;
}

FastPathResult<void> KernelFastPath::enrol() {
    return run(state_->any(), "xf_enrol");
}

FastPathResult<void> KernelFastPath::State::attach_hooks() {
    if (!hooks.empty()) return {};
    std::vector<LinkPtr> links;
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, access.get()) {
        if (bpf_program__type(program) != BPF_PROG_TYPE_LSM) continue;
        MessageCapture messages;
        LinkPtr link(bpf_program__attach_lsm(program));
        if (!link)
            return std::unexpected(messages.failure(
                std::string("cannot attach the LSM program ") + bpf_program__name(program), errno));
        links.push_back(std::move(link));
    }
    hooks = std::move(links);
    return {};
}

// REQUIRES: hooks attached.
FastPathResult<Learn> KernelFastPath::State::learn(int fd) {
    const bpf_map* const bss = bpf_object__find_map_by_name(access.get(), ".bss");
    if (!bss || bpf_map__value_size(bss) < sizeof(Learn))
        return std::unexpected(std::string("the embedded BPF programs are not of this build"));
    if (auto watched = run(access.get(), "xf_learn"); !watched)
        return std::unexpected(watched.error());
    struct statx ignored {};
    // Asks for nothing, so that a FUSE daemon is sent nothing.
    if (::statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &ignored) != 0)
        return std::unexpected(refusal("cannot look at the mount"));
    std::vector<std::byte> value(bpf_map__value_size(bss));
    const std::uint32_t zero = 0;
    if (bpf_map_lookup_elem(bpf_map__fd(bss), &zero, value.data()) != 0)
        return std::unexpected(refusal("cannot read what the LSM programs saw"));
    Learn learned{};
    std::memcpy(&learned, value.data(), sizeof(learned));
    if (learned.tid != 0 || learned.dev == 0)
        return std::unexpected(std::string("the LSM programs do not run (is BPF LSM active?)"));
    return learned;
}

FastPathResult<void> KernelFastPath::State::set_allowed_uids(const std::vector<uid_t>& uids) {
    const int fd = bpf_map__fd(map("allow_uid"));
    for (std::uint32_t key = 0; bpf_map_get_next_key(fd, nullptr, &key) == 0;)
        if (bpf_map_delete_elem(fd, &key) != 0)
            return std::unexpected(refusal("cannot clear the list of uids"));
    const std::uint8_t one = 1;
    for (const std::uint32_t uid : uids)
        if (bpf_map_update_elem(fd, &uid, &one, BPF_ANY) != 0)
            return std::unexpected(refusal("cannot allow another uid"));
    return {};
}

FastPathResult<void> KernelFastPath::set_policy(int mount_fd, const AccessPolicy& wanted) {
    if (wanted.allow_gids.size() > XF_POLICY_GIDS || wanted.allow_uids.size() > XF_POLICY_UIDS)
        return std::unexpected(std::string("too many uids or gids are allowed"));
    if (wanted.lower_dir >= 0 && !state_->access)
        return std::unexpected(std::string("guarding the lower directory takes BPF LSM"));
    if (auto enrolled = enrol(); !enrolled) return enrolled;

    const int map = bpf_map__fd(state_->map("policy"));
    const std::uint32_t zero = 0;
    xf_policy policy{};
    if (bpf_map_lookup_elem(map, &zero, &policy) != 0)
        return std::unexpected(refusal("cannot read the policy"));
    const bool was_active = policy.flags & XF_POLICY_ACTIVE;
    policy.flags = 0;
    if (state_->access) {
        if (auto hooked = state_->attach_hooks(); !hooked) return hooked;
        // The caller's descriptor keeps the mount from ending before sb_delete is watched.
        auto mount = state_->learn(mount_fd);
        if (!mount) return std::unexpected(mount.error());
        policy.dev = mount->dev;
        if (wanted.lower_dir >= 0) {
            auto lower = state_->learn(wanted.lower_dir);
            if (!lower) return std::unexpected(lower.error());
            policy.lower_dev = lower->dev;
            policy.lower_ino = lower->ino;
            policy.flags |= XF_POLICY_GUARD_LOWER;
        }
    }
    policy.owner_uid = wanted.owner;
    policy.gid_count = wanted.allow_gids.size();
    std::ranges::copy(wanted.allow_gids, policy.allow_gid);
    if (auto set = state_->set_allowed_uids(wanted.allow_uids); !set) return set;
    // The kernel copies the value in no particular order: first all but the switch.
    if (!was_active && bpf_map_update_elem(map, &zero, &policy, BPF_ANY) != 0)
        return std::unexpected(refusal("cannot write the policy"));
    policy.flags |= XF_POLICY_ACTIVE;
    if (wanted.deny_root) policy.flags |= XF_POLICY_DENY_ROOT;
    if (bpf_map_update_elem(map, &zero, &policy, BPF_ANY) != 0)
        return std::unexpected(refusal("cannot write the policy"));
    return {};
}

FastPathResult<void> KernelFastPath::attach(int mount_fd) {
    if (!state_->metadata)
        return std::unexpected(std::string("the programs that answer are not loaded"));
    if (state_->ops) return {};
    const int slot = state_->mount_slot.get();
    if (::dup3(mount_fd, slot, O_CLOEXEC) < 0)
        return std::unexpected(refusal("cannot hold the mount"));
    MessageCapture messages;
    LinkPtr link(bpf_map__attach_struct_ops(state_->map("extfuse")));
    const int error = errno;
    // The module holds the connection now; an open file would keep the mount from ending.
    const Descriptor placeholder(::open("/dev/null", O_PATH | O_CLOEXEC));
    if (placeholder.get() < 0 || ::dup3(placeholder.get(), slot, O_CLOEXEC) < 0)
        return std::unexpected(refusal("cannot let go of the mount"));
    if (!link) return std::unexpected(messages.failure("cannot attach to the mount", error));
    state_->ops = std::move(link);
    return {};
}

bool KernelFastPath::attached() const {
    return state_->ops != nullptr;
}

void KernelFastPath::detach() {
    state_->ops.reset();
}

void KernelFastPath::wipe() {
    state_->nodes.wipe();
    state_->buckets.wipe();
}

FastPathResult<SharedMaps> KernelFastPath::share() const {
    SharedMaps shared;
    const struct {
        const char* name;
        Descriptor& descriptor;
        bool writable;
    } wanted[] = {{"nodes", shared.nodes, true},
                  {"buckets", shared.buckets, true},
                  {"counters", shared.counters, false}};
    static_assert(std::size(wanted) == SharedMaps::kCount);
    for (std::size_t i = 0; i < std::size(wanted); ++i) {
        bpf_map_info info{};
        __u32 size = sizeof(info);
        if (bpf_map_get_info_by_fd(bpf_map__fd(state_->map(wanted[i].name)), &info, &size) != 0)
            return std::unexpected(refusal("cannot tell a map's id"));
        bpf_get_fd_by_id_opts options{};
        options.sz = sizeof(options);
        options.open_flags = wanted[i].writable ? 0 : BPF_F_RDONLY;
        wanted[i].descriptor = Descriptor(bpf_map_get_fd_by_id_opts(info.id, &options));
        if (wanted[i].descriptor.get() < 0)
            return std::unexpected(refusal("cannot open a map again"));
        shared.ids[i] = info.id;
    }
    return shared;
}

FastPathResult<FastPathCounters> KernelFastPath::counters() const {
    FastPathCounters result;
    if (state_->metadata) {
        auto sum = counters_of(bpf_map__fd(state_->map("counters")));
        if (!sum) return sum;
        result = *sum;
    }
    const auto denials = sum_of_processors<xf_denials>(bpf_map__fd(state_->map("denials")));
    if (!denials) return std::unexpected(denials.error());
    std::ranges::copy(denials->by_hook, result.denied_by_hook.begin());
    result.denials_not_logged = denials->lost;
    for (std::uint32_t hook = 0; hook < XF_HOOK_COUNT; ++hook)
        if (const std::uint32_t opcode = hook_opcode(hook))
            result.denied[opcode] += denials->by_hook[hook];
    return result;
}

void KernelFastPath::drain_denials(const std::function<void(const xf_denial&)>& take) {
    state_->take_denial = &take;
    ring_buffer__consume(state_->denial_log.get());
    state_->take_denial = nullptr;
}

std::size_t KernelFastPath::map_bytes() const {
    std::size_t bytes = 0;
    if (state_->metadata) bytes += bytes_of_maps(state_->metadata.get(), true);
    if (state_->access) bytes += bytes_of_maps(state_->access.get(), !state_->metadata);
    return bytes;
}

}  // namespace extencfs::meta
