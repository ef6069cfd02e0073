// SPDX-License-Identifier: Apache-2.0
// Listing directories: stateless, by the lower file system's own cookies, so that no handle is
// needed and a listing goes on rightly while the directory changes.
#include <dirent.h>
#include <sys/stat.h>

#include <cerrno>

#include "encfs/core/filesystem.h"

namespace extencfs::core {

namespace {
// Cookies of "." and "..": values that no lower file system gives out.
constexpr std::uint64_t kDotCookie = 0x7ffffffffffffffd;
constexpr std::uint64_t kDotDotCookie = 0x7ffffffffffffffc;
}  // namespace

Result<void> Filesystem::list(NodeId node, std::uint64_t cookie, ListMode mode,
                              const std::function<bool(const ListedEntry&)>& each) {
    const auto still = still_paths();
    auto dir = directory(node);
    if (!dir) {
        // A directory that was removed while open lists nothing.
        auto is = view(node);
        if (is && is->gone) return {};
        return std::unexpected(dir.error());
    }
    auto is = view(node);
    if (!is) return std::unexpected(is.error());
    if (is->gone) return {};
    const std::uint64_t from = cookie;
    std::uint64_t parent_ino = is->ino;
    if (is->location && is->location->parent != 0) {
        if (auto up = view(is->location->parent)) parent_ino = up->ino;
    }
    if (cookie == 0) {
        if (!each({".", is->ino, DT_DIR, kDotCookie, nullptr})) return {};
        cookie = kDotCookie;
    }
    if (cookie == kDotCookie) {
        if (!each({"..", parent_ino, DT_DIR, kDotDotCookie, nullptr})) return {};
        cookie = kDotDotCookie;
    }
    if (cookie == kDotDotCookie) cookie = 0;

    if (auto steady = steady_listing(node, *dir, cookie)) {
        if (!*steady) return std::unexpected(steady->error());
        return list_steadily(node, *dir, **steady, mode, each);
    }
    const int dirfd = (*dir)->fd.get();
    std::shared_lock names(namespace_lock(node));
    const auto token = sink_->token();
    const auto listing = sink_->listing_begins(node, from, token);
    std::uint64_t next = cookie == 0 ? kDotDotCookie : cookie;
    bool stopped = false;
    auto taken = [&](const ListedEntry& out) {
        stopped = !each(out);
        if (!stopped) next = out.cookie;
        return !stopped;
    };
    auto listed = lower_->list_from(dirfd, cookie, [&](const lower::DirEntry& lower_entry) {
        auto name = format_->decode_name(*lower_, dirfd, (*dir)->context, lower_entry.name);
        if (!name) {
            const bool foreign = name.error().kind == ErrorKind::kInvalid;
            if (options_.on_name_left_out && !format_->is_reserved(lower_entry.name))
                options_.on_name_left_out(
                    node, lower_entry.name,
                    foreign ? Options::LeftOut::kForeign : Options::LeftOut::kUnreadable);
            // A lookup may find by its name what a listing cannot read the name of.
            if (!foreign) sink_->listing_spoilt(listing, node);
            if (name.error().kind == ErrorKind::kDamaged)
                report_damage(dirfd, "the name " + std::string(lower_entry.name) +
                                         " in this directory does not authenticate");
            return true;
        }
        ListedEntry out{*name, lower_entry.ino, lower_entry.type, lower_entry.cookie, nullptr};
        const MetadataSink::Name told{node, *name};
        if (mode == ListMode::kNames) {
            sink_->entry_listed(listing, told, MetadataSink::kUnknownNode, token);
            return taken(out);
        }
        Place at{*dir, Location{node, std::string(lower_entry.name)},
                 CipherName{std::string(lower_entry.name), {}, {}}};
        const auto seen = sink_->token();
        auto found = lower_->stat_at(dirfd, at.entry());
        if (!found) {
            sink_->listing_spoilt(listing, node);
            return true;  // removed meanwhile
        }
        auto entry = entry_of(at, *found, seen);
        sink_->entry_listed(listing, told, entry ? entry->node : MetadataSink::kUnknownNode, seen);
        if (!entry) return taken(out);  // a later lookup tells what is wrong with it
        publish_if_bare(*entry, at, seen);
        out.entry = &*entry;
        const bool kept = taken(out);
        if (!kept) give_back(entry->node, 1);
        return kept;
    });
    if (!listed) sink_->listing_spoilt(listing, node);
    sink_->listing_ends(listing, node, (*dir)->ino, next, !stopped);
    if (!listed) return fail(listed.error());
    return {};
}

}  // namespace extencfs::core
