// SPDX-License-Identifier: Apache-2.0
// Listings while the keys are rotated: lower names change, and with them the lower order, so that a
// listing goes by what was there when it began.
#include <dirent.h>
#include <sys/stat.h>

#include <cerrno>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

Result<ListingSnapshot> Filesystem::snapshot_of(const DirHandle& dir) {
    ListingSnapshot snapshot;
    const int dirfd = dir.fd.get();
    auto listed = lower_->list(dirfd, [&](const lower::DirEntry& entry) {
        auto name = format_->decode_name(*lower_, dirfd, dir.context, entry.name);
        if (name) {
            snapshot.items.push_back({std::move(*name), entry.ino, entry.type, 0, entry.cookie});
        } else if (options_.on_name_left_out && !format_->is_reserved(entry.name)) {
            using Why = Options::LeftOut;
            const bool foreign = name.error().kind == ErrorKind::kInvalid;
            if (const NodeId node = table_->find(dir.ino); node != 0)
                options_.on_name_left_out(node, entry.name,
                                          foreign ? Why::kForeign : Why::kUnreadable);
        }
        if (!name && name.error().kind == ErrorKind::kDamaged)
            report_damage(dirfd, "the name " + std::string(entry.name) +
                                     " in this directory does not authenticate");
        return true;
    });
    if (!listed) return fail(listed.error());
    return snapshot;
}

std::optional<Result<ListingSnapshots::Place>> Filesystem::steady_listing(NodeId node,
                                                                          const Dir& dir,
                                                                          std::uint64_t cookie) {
    ListingSnapshots::Place place;
    switch (rotation_.snapshots.find(node, cookie, place)) {
        case ListingSnapshots::Known::kYes:
            return place;
        case ListingSnapshots::Known::kForgotten:
            return fail(ErrorKind::kStale);
        case ListingSnapshots::Known::kNo:
            break;
    }
    if (!rotation_.steady_listings) return std::nullopt;
    if (cookie != 0) {
        // It began before the rotation.
        if (!is_renewed(dir->context)) return std::nullopt;
        switch (rotation_.snapshots.continued(node, cookie, place)) {
            case ListingSnapshots::Known::kYes:
                return place;
            case ListingSnapshots::Known::kForgotten:
                return fail(ErrorKind::kStale);
            case ListingSnapshots::Known::kNo:  // or since an earlier run had renewed it
                return std::nullopt;
        }
    }
    std::shared_lock names(namespace_lock(node));
    auto snapshot = snapshot_of(*dir);
    if (!snapshot) return std::unexpected(snapshot.error());
    return rotation_.snapshots.begin(node, std::move(*snapshot));
}

Result<void> Filesystem::list_steadily(NodeId node, const Dir& dir,
                                       const ListingSnapshots::Place& place, ListMode mode,
                                       const std::function<bool(const ListedEntry&)>& each) {
    std::shared_lock names(namespace_lock(node));
    for (std::size_t i = place.next; i < place.snapshot->items.size(); ++i) {
        const auto& item = place.snapshot->items[i];
        const std::uint64_t cookie =
            place.id == 0 ? item.lower_cookie : ListingSnapshots::cookie_of(place.id, i + 1);
        ListedEntry out{item.name, item.ino, item.type, cookie, nullptr};
        auto name = format_->encode_name(dir->context, item.name);
        if (!name) return std::unexpected(name.error());
        Place at{dir, Location{node, name->entry}, std::move(*name)};
        const auto seen = sink_->token();
        auto found = lower_->stat_at(dir->fd.get(), at.entry());
        if (!found && found.error().value == ENOENT) continue;  // removed since
        if (mode == ListMode::kNames || !found) {
            if (!each(out)) return {};
            continue;
        }
        auto entry = entry_of(at, *found, seen);
        if (!entry) {  // a later lookup tells what is wrong with it
            if (!each(out)) return {};
            continue;
        }
        out.ino = found->st_ino;
        publish_if_bare(*entry, at, seen);
        out.entry = &*entry;
        if (each(out)) continue;
        give_back(entry->node, 1);
        return {};
    }
    return {};
}

}  // namespace extencfs::core
