// SPDX-License-Identifier: Apache-2.0
#include "encfs/core/inode_table.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>

namespace extencfs::core {

struct InodeTable::Node {
    std::uint64_t ino = 0;
    std::int64_t references = 0;          // handed out from here, less those given back
    std::unique_ptr<char[]> entry;        // lower name in `parent`; not NUL-terminated
    std::unique_ptr<DirContext> context;  // of an opened directory
    Slot parent = 0;                      // 0: no location
    Slot next = 0;                        // in its hash chain, or in the free list
    Slot children = 0;                    // nodes whose location names this one
    std::uint32_t generation = 0;
    std::uint16_t entry_size = 0;
    std::uint16_t type_bits = 0;  // S_IFMT
    bool used = false;
    bool hashed = false;
    bool gone = false;
    bool distrusted = false;
    bool queued = false;  // in idle_
    bool linked = false;  // had several links at some time
};

InodeTable::InodeTable(std::uint64_t root_ino, const DirContext& root_context, MetadataSink& sink)
    : sink_(sink), kept_(sink.worth_keeping()), buckets_(1024, 0) {
    const Slot root = take_slot();
    Node& node = slot_at(root);
    node.ino = root_ino;
    node.type_bits = S_IFDIR;
    node.references = 1;
    node.context = std::make_unique<DirContext>(root_context);
    hash_insert(root);
    sink_.node_made(id_of(root), root_ino);
}

InodeTable::~InodeTable() = default;

InodeTable::Node& InodeTable::slot_at(Slot slot) const {
    return chunks_[slot / kChunk][slot % kChunk];
}

NodeId InodeTable::id_of(Slot slot) const {
    return (static_cast<NodeId>(slot_at(slot).generation) << 32) | slot;
}

InodeTable::Node* InodeTable::at(NodeId node) const {
    const Slot slot = static_cast<Slot>(node);
    if (slot == 0 || slot >= next_slot_) return nullptr;
    Node& found = slot_at(slot);
    return found.used && found.generation == node >> 32 ? &found : nullptr;
}

InodeTable::Slot InodeTable::take_slot() {
    Slot slot = free_head_;
    if (slot != 0) {
        free_head_ = slot_at(slot).next;
    } else {
        slot = next_slot_++;
        if (slot / kChunk >= chunks_.size()) chunks_.push_back(std::make_unique<Node[]>(kChunk));
    }
    Node& node = slot_at(slot);
    const auto generation = node.generation;
    node = Node{};
    node.generation = generation;
    node.used = true;
    ++count_;
    return slot;
}

// ---- hash of lower inode numbers ----

namespace {
std::size_t bucket_of(std::uint64_t ino, std::size_t buckets) {
    return (ino * 0x9E3779B97F4A7C15ull >> 32) & (buckets - 1);
}
}  // namespace

void InodeTable::hash_insert(Slot slot) {
    if (count_ > buckets_.size()) {
        std::vector<Slot> old(buckets_.size() * 2, 0);
        old.swap(buckets_);
        for (Slot head : old) {
            while (head != 0) {
                Node& node = slot_at(head);
                const Slot next = node.next;
                Slot& bucket = buckets_[bucket_of(node.ino, buckets_.size())];
                node.next = bucket;
                bucket = head;
                head = next;
            }
        }
    }
    Node& node = slot_at(slot);
    Slot& bucket = buckets_[bucket_of(node.ino, buckets_.size())];
    node.next = bucket;
    bucket = slot;
    node.hashed = true;
}

void InodeTable::hash_remove(Slot slot) {
    Node& node = slot_at(slot);
    if (!node.hashed) return;
    Slot* link = &buckets_[bucket_of(node.ino, buckets_.size())];
    while (*link != slot) link = &slot_at(*link).next;
    *link = node.next;
    node.next = 0;
    node.hashed = false;
}

InodeTable::Slot InodeTable::hash_find(std::uint64_t ino) const {
    Slot slot = buckets_[bucket_of(ino, buckets_.size())];
    while (slot != 0 && slot_at(slot).ino != ino) slot = slot_at(slot).next;
    return slot;
}

// ---- locations ----

void InodeTable::set_primary(Slot slot, const Location& location) {
    Node& node = slot_at(slot);
    node.entry = std::make_unique_for_overwrite<char[]>(location.entry.size());
    std::memcpy(node.entry.get(), location.entry.data(), location.entry.size());
    node.entry_size = static_cast<std::uint16_t>(location.entry.size());
    node.parent = static_cast<Slot>(location.parent);
    slot_at(node.parent).children++;
}

void InodeTable::drop_primary(Slot slot, std::vector<NodeId>& freed) {
    Node& node = slot_at(slot);
    if (node.parent == 0) return;
    const Slot parent = node.parent;
    node.parent = 0;
    node.entry.reset();
    node.entry_size = 0;
    slot_at(parent).children--;
    free_if_unused(parent, freed);
}

// Whether somebody may come by its name again.
bool InodeTable::worth_keeping(const Node& node) const {
    return kept_ != 0 && node.hashed && !node.gone && !node.distrusted && node.parent != 0;
}

void InodeTable::free_if_unused(Slot slot, std::vector<NodeId>& freed) {
    Node& node = slot_at(slot);
    if (!node.used || node.references > 0 || !worth_keeping(node)) {
        retire_if_unused(slot, freed);
        return;
    }
    if (node.queued) return;
    node.queued = true;
    idle_.push_back(id_of(slot));
}

void InodeTable::trim_idle(std::vector<NodeId>& freed) {
    while (!idle_.empty() && (count_ > kept_ || idle_.size() > kept_)) {
        const NodeId id = idle_.front();
        idle_.pop_front();
        Node* node = at(id);
        if (node == nullptr || !node->queued) continue;
        // If it is in use, by what lies in it or by the sink's readers, it comes here again when
        // that ends.
        node->queued = false;
        retire_if_unused(static_cast<Slot>(id), freed);
    }
}

void InodeTable::retire_if_unused(Slot slot, std::vector<NodeId>& freed) {
    Node& node = slot_at(slot);
    if (slot == static_cast<Slot>(kRootNode) || !node.used || node.references > 0 ||
        node.children != 0)
        return;
    // Last: what it agrees to cannot be taken back.
    if (!sink_.try_retire(id_of(slot), static_cast<std::uint64_t>(-node.references))) return;
    freed.push_back(id_of(slot));
    hash_remove(slot);
    auto [begin, end] = more_locations_.equal_range(slot);
    std::vector<Slot> parents;
    for (auto it = begin; it != end; ++it) parents.push_back(static_cast<Slot>(it->second.parent));
    more_locations_.erase(begin, end);
    node.used = false;
    drop_primary(slot, freed);
    node.context.reset();
    --count_;
    if (node.generation != kLastGeneration) {
        node.generation++;
        node.next = free_head_;
        free_head_ = slot;
    }
    for (Slot parent : parents) {
        slot_at(parent).children--;
        free_if_unused(parent, freed);
    }
}

void InodeTable::add_location_locked(Slot slot, const Location& location) {
    Node& node = slot_at(slot);
    node.gone = false;
    if (!node.hashed && !node.distrusted) hash_insert(slot);
    if (node.parent == 0) {
        set_primary(slot, location);
        return;
    }
    auto same = [&](Slot parent, std::string_view entry) {
        return parent == static_cast<Slot>(location.parent) && entry == location.entry;
    };
    if (same(node.parent, {node.entry.get(), node.entry_size})) return;
    if (S_ISDIR(node.type_bits)) {
        // A directory has one place: the old one is no longer true.
        std::vector<NodeId> freed;
        slot_at(static_cast<Slot>(location.parent)).children++;  // outlives the exchange
        drop_primary(slot, freed);
        set_primary(slot, location);
        slot_at(static_cast<Slot>(location.parent)).children--;
        return;
    }
    auto [begin, end] = more_locations_.equal_range(slot);
    for (auto it = begin; it != end; ++it)
        if (same(static_cast<Slot>(it->second.parent), it->second.entry)) return;
    more_locations_.emplace(slot, location);
    slot_at(static_cast<Slot>(location.parent)).children++;
}

void InodeTable::add_location(NodeId node, const Location& location) {
    std::lock_guard lock(mutex_);
    if (at(node) != nullptr && at(location.parent) != nullptr)
        add_location_locked(static_cast<Slot>(node), location);
}

void InodeTable::remove_location(NodeId id, const Location& location, bool last) {
    std::lock_guard lock(mutex_);
    Node* node = at(id);
    if (node == nullptr) return;
    const Slot slot = static_cast<Slot>(id);
    std::vector<NodeId> freed;
    auto [begin, end] = more_locations_.equal_range(slot);
    const bool primary = node->parent == static_cast<Slot>(location.parent) &&
                         location.entry == std::string_view(node->entry.get(), node->entry_size);
    if (primary) {
        if (begin != end) {
            const Location other = begin->second;
            more_locations_.erase(begin);
            drop_primary(slot, freed);
            set_primary(slot, other);
            slot_at(static_cast<Slot>(other.parent)).children--;  // was counted already
        } else {
            drop_primary(slot, freed);
        }
    } else {
        for (auto it = begin; it != end; ++it) {
            if (it->second.parent != location.parent || it->second.entry != location.entry)
                continue;
            more_locations_.erase(it);
            slot_at(static_cast<Slot>(location.parent)).children--;
            free_if_unused(static_cast<Slot>(location.parent), freed);
            break;
        }
    }
    if (last) {
        node->gone = true;
        hash_remove(slot);  // the number may belong to another file soon
    }
}

void InodeTable::move(NodeId node, const Location& from, const Location& to) {
    add_location(node, to);
    if (!is_at(node, from)) return;
    remove_location(node, from, false);
}

void InodeTable::distrust(NodeId id) {
    std::lock_guard lock(mutex_);
    Node* node = at(id);
    if (node == nullptr) return;
    node->distrusted = true;
    sink_.bar(id);
    hash_remove(static_cast<Slot>(id));
}

// ---- references ----

NodeId InodeTable::make_node(std::uint64_t ino, mode_t type) {
    const Slot slot = take_slot();
    Node& node = slot_at(slot);
    node.ino = ino;
    node.type_bits = static_cast<std::uint16_t>(type & S_IFMT);
    node.references = 1;
    sink_.node_made(id_of(slot), ino);
    return id_of(slot);
}

NodeId InodeTable::acquire(const Location& location, std::uint64_t ino, mode_t type) {
    std::lock_guard lock(mutex_);
    if (at(location.parent) == nullptr) return 0;
    Slot slot = hash_find(ino);
    if (slot != 0 && slot_at(slot).type_bits != (type & S_IFMT)) {
        slot_at(slot).gone = true;
        sink_.bar(id_of(slot));
        hash_remove(slot);
        slot = 0;
    }
    if (slot != 0) {
        slot_at(slot).references += 1 + static_cast<std::int64_t>(sink_.take_served(id_of(slot)));
        add_location_locked(slot, location);
        return id_of(slot);
    }
    const NodeId id = make_node(ino, type);
    hash_insert(static_cast<Slot>(id));
    set_primary(static_cast<Slot>(id), location);
    return id;
}

bool InodeTable::hold(NodeId id) {
    std::lock_guard lock(mutex_);
    Node* node = at(id);
    if (node == nullptr) return false;
    node->references += 1 + static_cast<std::int64_t>(sink_.take_served(id));
    return true;
}

NodeId InodeTable::acquire_nameless(std::uint64_t ino, mode_t type) {
    std::lock_guard lock(mutex_);
    const NodeId id = make_node(ino, type);
    slot_at(static_cast<Slot>(id)).gone = true;
    return id;
}

std::vector<NodeId> InodeTable::forget(NodeId id, std::uint64_t count) {
    std::vector<NodeId> freed;
    std::lock_guard lock(mutex_);
    Node* node = at(id);
    if (node == nullptr) return freed;
    node->references -= static_cast<std::int64_t>(count);
    free_if_unused(static_cast<Slot>(id), freed);
    trim_idle(freed);
    return freed;
}

bool InodeTable::is_last(NodeId id, std::uint64_t count) const {
    std::lock_guard lock(mutex_);
    const Node* node = at(id);
    return node != nullptr && node->references <= static_cast<std::int64_t>(count);
}

std::vector<NodeId> InodeTable::clear() {
    std::vector<NodeId> all;
    std::lock_guard lock(mutex_);
    for (Slot slot = 2; slot < next_slot_; ++slot)
        if (slot_at(slot).used) all.push_back(id_of(slot));
    return all;
}

// ---- questions ----

std::optional<NodeView> InodeTable::view(NodeId id) const {
    std::lock_guard lock(mutex_);
    const Node* node = at(id);
    if (node == nullptr) return std::nullopt;
    NodeView out{.id = id, .ino = node->ino, .type = node->type_bits, .gone = node->gone};
    out.distrusted = node->distrusted;
    if (node->parent != 0)
        out.location = Location{id_of(node->parent), {node->entry.get(), node->entry_size}};
    if (node->context) out.context = *node->context;
    return out;
}

NodeId InodeTable::find(std::uint64_t ino) const {
    std::lock_guard lock(mutex_);
    const Slot slot = hash_find(ino);
    return slot == 0 ? 0 : id_of(slot);
}

std::size_t InodeTable::location_count(NodeId id) const {
    std::lock_guard lock(mutex_);
    const Node* node = at(id);
    if (node == nullptr || node->parent == 0) return 0;
    return 1 + more_locations_.count(static_cast<Slot>(id));
}

bool InodeTable::had_links(NodeId id, bool now) {
    std::lock_guard lock(mutex_);
    Node* node = at(id);
    if (node == nullptr) return now;
    node->linked = node->linked || now;
    return node->linked;
}

bool InodeTable::is_at(NodeId id, const Location& location) const {
    std::lock_guard lock(mutex_);
    const Node* node = at(id);
    if (node == nullptr) return false;
    if (node->parent == static_cast<Slot>(location.parent) &&
        location.entry == std::string_view(node->entry.get(), node->entry_size))
        return true;
    auto [begin, end] = more_locations_.equal_range(static_cast<Slot>(id));
    return std::any_of(begin, end, [&](const auto& more) {
        return more.second.parent == location.parent && more.second.entry == location.entry;
    });
}

void InodeTable::set_context(NodeId id, const DirContext& context) {
    std::lock_guard lock(mutex_);
    if (Node* node = at(id)) node->context = std::make_unique<DirContext>(context);
}

void InodeTable::forget_context(NodeId id) {
    std::lock_guard lock(mutex_);
    if (Node* node = at(id)) node->context.reset();
}

std::vector<NodeId> InodeTable::forget_contexts_but(std::uint32_t generation) {
    std::vector<NodeId> nodes;
    std::lock_guard lock(mutex_);
    for (Slot slot = static_cast<Slot>(kRootNode) + 1; slot < next_slot_; ++slot) {
        Node& node = slot_at(slot);
        if (!node.used || !node.context || node.context->generation == generation) continue;
        node.context.reset();
        nodes.push_back(id_of(slot));
    }
    return nodes;
}

std::size_t InodeTable::size() const {
    std::lock_guard lock(mutex_);
    if (kept_ == 0) return count_;
    std::size_t idle = 0;
    for (Slot slot = static_cast<Slot>(kRootNode) + 1; slot < next_slot_; ++slot) {
        const Node& node = slot_at(slot);
        if (node.used &&
            node.references + static_cast<std::int64_t>(sink_.served(id_of(slot))) == 0)
            ++idle;
    }
    return count_ - idle;
}

}  // namespace extencfs::core
