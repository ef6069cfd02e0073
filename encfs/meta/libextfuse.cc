// SPDX-License-Identifier: Apache-2.0
// libextfuse: nodes and references of a daemon that has no table of its own kind, over the loader
// and the records. No exception leaves it: out of memory is an error, or a publication less.
#include "encfs/meta/libextfuse.h"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "encfs/meta/loader.h"
#include "encfs/meta/records.h"

using extencfs::meta::FastPathConfig;
using extencfs::meta::KernelFastPath;
using extencfs::meta::Records;
using extencfs::meta::RecordSettings;

namespace {

struct Node {
    std::uint64_t inode = 0;
    // References replied by the daemon less those given back; below 0 while the kernel gives back
    // what BPF handed out.
    std::int64_t references = 0;
    void* data = nullptr;
};

void say(char* why, std::size_t size, const std::string& what) {
    if (why && size) {
        const std::size_t length = std::min(size - 1, what.size());
        std::memcpy(why, what.data(), length);
        why[length] = '\0';
    }
}

std::chrono::nanoseconds nanoseconds(double seconds) {
    return std::chrono::nanoseconds(static_cast<std::int64_t>(seconds * 1e9));
}

}  // namespace

struct xf_mount {
    std::optional<KernelFastPath> path;
    std::optional<Records> records;
    std::mutex mutex;  // of what follows; the records' own locks are taken inside
    std::unordered_map<std::uint64_t, Node> nodes;
    std::vector<std::uint32_t> free_slots;
    std::vector<std::uint32_t> generations{0, 0};  // by slot; 0 is not used, 1 is the root's

    std::mutex names;                           // over changes of names, lower calls included
    std::unique_lock<std::mutex> names_holder;  // of the thread that changes them

    std::uint64_t take_id();
    Node* find(std::uint64_t id) {
        const auto at = nodes.find(id);
        return at == nodes.end() ? nullptr : &at->second;
    }
};

// Never one that was given out before: the generation grows with each use of a slot.
std::uint64_t xf_mount::take_id() {
    std::uint32_t slot = 0;
    if (free_slots.empty()) {
        slot = generations.size();
        generations.push_back(0);
        free_slots.reserve(generations.size());  // so that giving back cannot fail
    } else {
        slot = free_slots.back();
        free_slots.pop_back();
        ++generations[slot];
    }
    return std::uint64_t{generations[slot]} << 32 | slot;
}

namespace {

// The records' view of a change; what they prepared is kept in `reserved` meanwhile.
Records::Change change_of(const xf_change& change) {
    Records::Change records;
    for (int i = 0; i < XF_CHANGE_INODES; ++i) records.inodes[i] = change.inodes[i];
    for (int i = 0; i < XF_CHANGE_NAMES; ++i)
        if (change.names[i]) records.names[i] = {change.parents[i], change.names[i]};
    records.xattrs = change.xattrs != 0;
    for (std::size_t i = 0; i < records.prepared.size(); ++i)
        records.prepared[i] = change.reserved[i];
    return records;
}

std::optional<Records::Change> within_of(const xf_change* change) {
    if (!change) return std::nullopt;
    return change_of(*change);
}

}  // namespace

int xf_open(xf_mount** m, const xf_options* given, char* why, size_t why_size) try {
    xf_options options{};
    std::memcpy(&options, given, std::min(given->size, sizeof(options)));
    const auto probe = KernelFastPath::probe();
    if (!probe.metadata.empty()) {
        say(why, why_size, probe.metadata.front());
        return -1;
    }
    FastPathConfig config;
    config.access = false;
    if (options.nodes) config.nodes = options.nodes;
    if (options.buckets) config.buckets = options.buckets;
    config.entry_timeout = nanoseconds(options.entry_timeout);
    config.negative_timeout = nanoseconds(options.negative_timeout);
    config.xattr_namespaces = options.xattr_namespaces;
    if (::getrandom(config.tag_key.data(), sizeof(config.tag_key), 0) != sizeof(config.tag_key)) {
        say(why, why_size, "no random numbers");
        return -1;
    }
    auto mount = std::make_unique<xf_mount>();
    auto loaded = KernelFastPath::load(config);
    if (!loaded) {
        say(why, why_size, loaded.error());
        return -1;
    }
    mount->path = std::move(*loaded);
    RecordSettings settings;
    settings.tag_key = config.tag_key;
    settings.attr_valid_s = static_cast<std::uint64_t>(options.attr_timeout);
    settings.attr_valid_nsec =
        (nanoseconds(options.attr_timeout) - std::chrono::seconds(settings.attr_valid_s)).count();
    mount->records.emplace(mount->path->nodes(), mount->path->buckets(), settings);
    *m = mount.release();
    return 0;
} catch (const std::exception& e) {
    say(why, why_size, e.what());
    return -1;
}

int xf_open_plain(xf_mount** m) {
    *m = new (std::nothrow) xf_mount;
    return *m ? 0 : -1;
}

int xf_attach(xf_mount* m, int mount_fd, char* why, size_t why_size) try {
    if (!m->path) return 0;
    auto attached = m->path->attach(mount_fd);
    if (!attached) say(why, why_size, attached.error());
    return attached ? 0 : -1;
} catch (const std::exception& e) {
    say(why, why_size, e.what());
    return -1;
}

int xf_attach_soon(xf_mount* m, const char* mountpoint) try {
    if (!m->path) return 0;
    std::thread([m, where = std::string(mountpoint)] {
        char why[4096] = "cannot open the mount point";
        const int fd = ::open(where.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || xf_attach(m, fd, why, sizeof(why)) != 0)
            std::fprintf(stderr, "no kernel fast path: %s\n", why);
        if (fd >= 0) ::close(fd);
    }).detach();
    return 0;
} catch (const std::exception&) {
    return EAGAIN;
}

void xf_detach(xf_mount* m) {
    if (m->path) m->path->detach();
}

void xf_close(xf_mount* m) {
    if (!m) return;
    const std::unique_ptr<xf_mount> owned(m);
    xf_detach(m);
    m->records.reset();  // the loader overwrites the arrays
}

uint64_t xf_node_add(xf_mount* m, uint64_t inode, void* data) try {
    const std::lock_guard lock(m->mutex);
    const std::uint64_t id = m->take_id();
    m->nodes.emplace(id, Node{inode, 1, data});
    if (m->records) m->records->adopt(id, inode);
    return id;
} catch (const std::bad_alloc&) {
    return 0;
}

void xf_root_set(xf_mount* m, uint64_t inode, void* data) {
    const std::lock_guard lock(m->mutex);
    // Never given back.
    m->nodes.insert_or_assign(XF_ROOT, Node{inode, std::int64_t{1} << 62, data});
    if (m->records) m->records->adopt(XF_ROOT, inode);
}

void* xf_node_data(xf_mount* m, uint64_t node) {
    const std::lock_guard lock(m->mutex);
    const Node* found = m->find(node);
    return found ? found->data : nullptr;
}

int xf_node_ref(xf_mount* m, uint64_t node) {
    const std::lock_guard lock(m->mutex);
    Node* found = m->find(node);
    if (!found) return 0;
    ++found->references;
    if (m->records) found->references += m->records->take_served(node);
    return 1;
}

int xf_node_forget(xf_mount* m, uint64_t node, uint64_t count) {
    const std::lock_guard lock(m->mutex);
    Node* found = m->find(node);
    if (!found || node == XF_ROOT) return 0;
    found->references -= static_cast<std::int64_t>(count);
    if (found->references > 0) return 0;
    if (m->records && !m->records->try_retire(node, -found->references)) return 0;
    m->nodes.erase(node);
    m->free_slots.push_back(xf_slot(node));
    return 1;
}

void xf_node_each(xf_mount* m, void (*take)(void* data, void* arg), void* arg) {
    const std::lock_guard lock(m->mutex);
    for (const auto& [id, node] : m->nodes)
        if (id != XF_ROOT) take(node.data, arg);
}

void xf_lock_names(xf_mount* m) {
    std::unique_lock lock(m->names);
    m->names_holder = std::move(lock);
}

void xf_unlock_names(xf_mount* m) {
    const std::unique_lock released(std::move(m->names_holder));
}

void xf_begin(xf_mount* m, xf_change* change) {
    if (!m || !m->records) return;
    Records::Change records = change_of(*change);
    m->records->begin_change(records);
    for (std::size_t i = 0; i < records.prepared.size(); ++i)
        change->reserved[i] = records.prepared[i];
}

void xf_end(xf_mount* m, xf_change* change) {
    if (m && m->records) m->records->end_change(change_of(*change));
}

xf_token_t xf_token(xf_mount* m) {
    return m && m->records ? m->records->token() : 0;
}

void xf_publish_attr(xf_mount* m, uint64_t node, const struct stat* attr, xf_token_t token,
                     const xf_change* within) {
    if (!m || !m->records) return;
    const auto own = within_of(within);
    m->records->publish_attr(node, *attr, token, own ? &*own : nullptr);
}

void xf_publish_entry(xf_mount* m, uint64_t parent, const char* name, uint64_t child,
                      xf_token_t token, const xf_change* within) {
    if (!m || !m->records) return;
    const auto own = within_of(within);
    m->records->publish_entry({parent, name}, child, token, own ? &*own : nullptr);
}

void xf_publish_xattrs(xf_mount* m, uint64_t node, uint64_t absent, xf_token_t token) {
    if (!m || !m->records) return;
    std::uint64_t inode = 0;
    {
        const std::lock_guard lock(m->mutex);
        const Node* found = m->find(node);
        if (!found) return;
        inode = found->inode;
    }
    m->records->publish_xattrs(node, inode, absent, token);
}

int xf_get_stats(xf_mount* m, xf_stats* stats) {
    *stats = {};
    if (!m || !m->path) return 0;
    const auto counters = m->path->counters();
    if (!counters) return -1;
    std::memcpy(stats->served, counters->served.data(), sizeof(stats->served));
    std::memcpy(stats->missed, counters->missed.data(), sizeof(stats->missed));
    stats->map_bytes = m->path->map_bytes();
    stats->map_entries = m->path->map_entries();
    return 0;
}
