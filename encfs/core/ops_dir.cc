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

    const int dirfd = (*dir)->fd.get();
    std::shared_lock names(namespace_lock(node));
    auto listed = lower_->list_from(dirfd, cookie, [&](const lower::DirEntry& lower_entry) {
        auto name = format_->decode_name(*lower_, dirfd, (*dir)->context, lower_entry.name);
        if (!name) {
            if (name.error().kind == ErrorKind::kDamaged)
                report_damage(dirfd, "the name " + std::string(lower_entry.name) +
                                         " in this directory does not authenticate");
            return true;
        }
        ListedEntry out{*name, lower_entry.ino, lower_entry.type, lower_entry.cookie, nullptr};
        if (mode == ListMode::kNames) return each(out);
        Place at{*dir, Location{node, std::string(lower_entry.name)},
                 CipherName{std::string(lower_entry.name), {}, {}}};
        auto found = lower_->stat_at(dirfd, at.entry());
        if (!found) return true;  // removed meanwhile
        auto entry = entry_of(at, *found);
        if (!entry) return each(out);  // a later lookup tells what is wrong with it
        out.entry = &*entry;
        const bool taken = each(out);
        if (!taken) forget(entry->node, 1);
        return taken;
    });
    if (!listed) return fail(listed.error());
    return {};
}

}  // namespace extencfs::core
